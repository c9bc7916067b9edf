//! One certificate, and the chain of them in a token's `x5c` header.

use std::time::Duration;

use data_encoding::BASE64;
use openssl::x509::X509;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::values::json::Json;
use crate::values::{Digest, Timestamp};

use super::PathError;

/// Most certificates of an `x5c`. Communities in the field have three levels; ten leaves room for cross-certification, and each
/// costs a signature check.
pub const CHAIN_MAX: usize = 10;
/// Longest certificate in bytes. A token is capped at 16,384 bytes, so only configured roots could be longer than that.
pub const CERTIFICATE_MAX_BYTES: usize = 16_384;

/// A certificate that was read, and that nobody has vouched for.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) x509: X509,
    /// DER of the names, compared byte for byte.
    pub(super) subject: Box<[u8]>,
    pub(super) issuer: Box<[u8]>,
    pub(super) serial: Box<[u8]>,
    /// Of the public key's DER.
    pub(super) key: Digest,
    pub(super) key_identifier: Option<Box<[u8]>>,
    pub(super) authority_key: Option<Box<[u8]>>,
    pub(super) is_ca: bool,
    pub(super) usage: Option<Usage>,
    pub(super) extended_usage: bool,
    pub(super) uris: Vec<Box<str>>,
    /// Names of the distribution points that are for every reason and for lists of the issuer itself.
    pub(super) points: Vec<Box<[u8]>>,
    /// RFC 9608.
    pub(super) no_revocation: bool,
    pub(super) lifetime: Duration,
    pub(super) ends: Timestamp,
    /// Of its DER.
    pub(super) digest: Digest,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
impl Eq for Certificate {}

/// What the key of a certificate is for (RFC 5280 section 4.2.1.3), as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    pub(super) digital_signature: bool,
    pub(super) certificates: bool,
    pub(super) lists: bool,
}

/// The certificates of an `x5c`, leaf first; each is signed by the next. Not trusted yet.
#[derive(Clone, Debug)]
pub struct Chain(pub(super) Vec<Certificate>);

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// Says what is wrong with it: too long, not DER, an extension twice or unreadable.
    pub fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > CERTIFICATE_MAX_BYTES {
            return Err(format!("a certificate is longer than {CERTIFICATE_MAX_BYTES} bytes"));
        }
        let x509 = X509::from_der(der).map_err(|_| "not a certificate in DER".to_owned())?;
        // OpenSSL lets bytes after the certificate pass.
        let (rest, read) = X509Certificate::from_der(der).map_err(|_| "not a certificate in DER".to_owned())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".into());
        }
        // RFC 5280 section 4.2: an extension occurs once.
        read.extensions_map().map_err(|_| "an extension occurs twice".to_owned())?;
        let mut certificate = Self {
            x509,
            subject: read.subject().as_raw().into(),
            issuer: read.issuer().as_raw().into(),
            serial: serial(read.raw_serial()),
            key: Digest::of(read.public_key().raw),
            key_identifier: None,
            authority_key: None,
            is_ca: false,
            usage: None,
            extended_usage: false,
            uris: Vec::new(),
            points: Vec::new(),
            no_revocation: false,
            lifetime: timestamp(read.validity().not_after).since(timestamp(read.validity().not_before)),
            ends: timestamp(read.validity().not_after),
            digest: Digest::of(der),
        };
        for extension in read.extensions() {
            // RFC 9608 section 2: id-ce-noRevAvail.
            certificate.no_revocation |= extension.oid.to_id_string() == "2.5.29.56";
            certificate.take(extension.parsed_extension())?;
        }
        Ok(certificate)
    }

    /// Of its DER.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The URIs among its subject alternative names, in order.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.uris.iter().map(AsRef::as_ref)
    }

    /// The URLs that it names for its list, in order.
    pub(super) fn list_urls(&self) -> impl Iterator<Item = &str> {
        self.points.iter().filter_map(|name| std::str::from_utf8(name.strip_prefix(b"u")?).ok())
    }

    fn take(&mut self, extension: &ParsedExtension<'_>) -> Result<(), String> {
        match extension {
            ParsedExtension::AuthorityKeyIdentifier(key) => {
                self.authority_key = key.key_identifier.as_ref().map(|id| id.0.into())
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.key_identifier = Some(id.0.into()),
            ParsedExtension::BasicConstraints(constraints) => self.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.usage = Some(Usage {
                    digital_signature: usage.digital_signature(),
                    certificates: usage.key_cert_sign(),
                    lists: usage.crl_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => self.extended_usage = !(usage.any || usage.client_auth),
            ParsedExtension::SubjectAlternativeName(names) => {
                let uris = names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some(Box::from(*uri)),
                    _ => None,
                });
                self.uris = uris.collect();
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                // RFC 5280 section 4.2.1.13: a point with `reasons` is a part of the answer, one with `cRLIssuer` is another's.
                let whole = points.points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
                self.points = whole.flat_map(|point| names(point.distribution_point.as_ref())).collect();
            }
            ParsedExtension::ParseError { .. } => return Err("an extension is not what its identifier says".into()),
            _ => {}
        }
        Ok(())
    }
}

impl Chain {
    /// Reads the value of an `x5c` header parameter.
    ///
    /// # Errors
    /// [`PathError::Malformed`]: not an array of 1 to [`CHAIN_MAX`] certificates in standard base64, or one that does not certify
    /// the one before it. The whole header is refused then (RFC 7515 section 4.1.6).
    pub fn parse(x5c: &Json) -> Result<Self, PathError> {
        let malformed = |detail: String| PathError::Malformed(detail);
        let texts = x5c.as_array().ok_or_else(|| malformed(format!("it is {}, not an array", x5c.kind())))?;
        if texts.is_empty() || texts.len() > CHAIN_MAX {
            return Err(malformed(format!("it has {} certificates; 1 to {CHAIN_MAX} are legal", texts.len())));
        }
        let mut chain: Vec<Certificate> = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let at = |detail: &str| malformed(format!("certificate {place}: {detail}"));
            let text = text.as_str().ok_or_else(|| at("it is not a string"))?;
            // RFC 7515 section 4.1.6: base64 of RFC 4648 section 4, not base64url; no PEM, no line breaks.
            let der = BASE64.decode(text.as_bytes()).map_err(|_| at("it is not standard base64"))?;
            let certificate = Certificate::parse(&der).map_err(|detail| at(&detail))?;
            if let Some(previous) = chain.last() {
                let signed = certificate.x509.public_key().and_then(|key| previous.x509.verify(&key)).unwrap_or(false);
                if previous.issuer != certificate.subject || !signed {
                    return Err(at("it does not certify the one before it"));
                }
            }
            chain.push(certificate);
        }
        Ok(Self(chain))
    }

    /// The URIs that the leaf claims for itself: only good for messages, until the path is verified.
    pub fn claimed_uris(&self) -> impl Iterator<Item = &str> {
        self.0.first().into_iter().flat_map(Certificate::uris)
    }
}

/// A serial number as it is compared. Leading zeros are dropped, so that a list with a padded number still names its certificate;
/// that a negative number then meets a positive one can only revoke too much.
pub(super) fn serial(raw: &[u8]) -> Box<[u8]> {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default().into()
}

/// Seconds before 1970 are 1970: every such certificate or list has ended long ago.
pub(super) fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

/// The names of a distribution point in comparable form; those of a kind that is not compared, and relative ones, are left out.
pub(super) fn names(point: Option<&DistributionPointName<'_>>) -> Vec<Box<[u8]>> {
    let Some(DistributionPointName::FullName(names)) = point else { return Vec::new() };
    let comparable = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some([b"u", uri.as_bytes()].concat().into_boxed_slice()),
        GeneralName::DirectoryName(name) => Some([b"d", name.as_raw()].concat().into_boxed_slice()),
        _ => None,
    });
    comparable.collect()
}
