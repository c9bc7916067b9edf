//! The TLS side of a fetch: which roots are trusted, and nothing remembered between connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::FetcherError;

/// The system's roots and the operator's. The provider is named because several crates in the tree could bring one, and rustls
/// picks none when it finds two.
pub(super) fn config(extra_roots: &[PathBuf]) -> Result<ClientConfig, FetcherError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (kept, ignored) = roots.add_parsable_certificates(native.certs);
    tracing::debug!(kept, ignored, errors = ?native.errors, "system roots loaded");
    for path in extra_roots {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        // Statements whose keys are held need no fetch, so this is no reason not to start; every fetch will say that it failed.
        tracing::warn!("no root certificates: the system has none and `fetch.extra_roots` is empty; nothing can be fetched");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(FetcherError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A ticket would let an origin link our fetches; a full handshake every few minutes costs nothing.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), FetcherError> {
    let refuse = |why: String| FetcherError::ExtraRoots { path: path.to_owned(), why };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
    let mut found = false;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(refuse("it holds no certificate".to_owned())) }
}
