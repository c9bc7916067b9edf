//! HTTP towards the object store that the operator named in `evidence.seal`. What strangers name is never reached from here: that goes
//! through the guard.
//!
//! The store's client would bring reqwest and a second TLS library; this gives it ours instead, with our roots and limits.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Dialler;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

use super::{FetcherError, tls};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// For one request and all of its answer: the largest object on a line of 20 Mbit/s.
const REQUEST: Duration = Duration::from_secs(60);
/// The largest answer: sealed objects have at most 64 MiB before compression, Parquet files of sixteen million rows about 600 MiB.
const ANSWER_MAX: usize = 1 << 30;
/// Connections that are kept for the next round.
const IDLE: usize = 4;

/// Makes requests of an object store.
#[derive(Clone, Debug)]
pub(crate) struct ObjectHttp(Client<HttpsConnector<Dialler>, HttpRequestBody>);

impl ObjectHttp {
    /// Trusts the system's roots and these.
    ///
    /// # Errors
    /// When a file of roots cannot be read.
    pub(crate) fn new(extra_roots: &[PathBuf]) -> Result<Self, FetcherError> {
        let mut config = tls::config(extra_roots)?;
        // The connector sets it itself, and refuses a configuration that has it.
        config.alpn_protocols.clear();
        let mut dialler = Dialler::new();
        dialler.enforce_http(false);
        dialler.set_connect_timeout(Some(CONNECT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let mut client = Client::builder(TokioExecutor::new());
        Ok(Self(client.pool_max_idle_per_host(IDLE).build(connector.wrap_connector(dialler))))
    }
}

impl HttpConnector for ObjectHttp {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for ObjectHttp {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let exchange = async {
            let answer = self.0.request(request).await;
            let answer = answer.map_err(|error| {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
                HttpError::new(kind, error)
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?;
            Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body.to_bytes())))
        };
        let within = tokio::time::timeout(REQUEST, exchange).await;
        within.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)))
    }
}
