//! The listener: accepts connections, serves them with time limits, and stops without losing an answer.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tower::ServiceExt as _;

use super::auth::Peer;
use super::problem::Problem;
use super::{App, decisions};

/// How long requests under way may take when stopping. Longer than any caller's patience.
const GRACE: Duration = Duration::from_secs(10);

/// A bound listener.
pub struct Server {
    listener: Listener,
    app: App,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[error("listen = {listen:?}: {source}")]
pub struct ListenError {
    /// The configured value.
    pub listen: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Server {
    /// Binds the configured address.
    ///
    /// # Errors
    /// When it is malformed or taken.
    pub async fn bind(listen: &str, app: App) -> Result<Self, ListenError> {
        let fail = |source| ListenError { listen: listen.to_owned(), source };
        let listener = match listen.strip_prefix("unix:") {
            Some(path) => Listener::Unix(bind_unix(Path::new(path)).map_err(fail)?, PathBuf::from(path)),
            None => Listener::Tcp(TcpListener::bind(listen).await.map_err(fail)?),
        };
        Ok(Self { listener, app })
    }

    /// Where it listens, as a URL.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn url(&self) -> io::Result<String> {
        match &self.listener {
            Listener::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Listener::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }

    /// The bound TCP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        if let Listener::Tcp(listener) = &self.listener { listener.local_addr().ok() } else { None }
    }

    /// Serves until `stop` resolves; then accepts nothing new and lets what is under way end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let router = self.app.router();
        let graceful = GracefulShutdown::new();
        let mut http = auto::Builder::new(TokioExecutor::new());
        // Slow peers hold a connection each, and nothing else.
        let patience = Duration::from_millis(self.app.config().http.read_timeout_ms);
        http.http1().timer(TokioTimer::new()).header_read_timeout(patience).keep_alive(true);
        http.http2().timer(TokioTimer::new()).max_concurrent_streams(1024);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((connection, peer)) => serve(&http, &graceful, &self.app, &router, connection, peer),
                    // Out of descriptors, or the peer left while connecting: others may still be served.
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = &mut stop => break,
            }
        }
        self.app.stop();
        // Whoever connects from here on learns it at once, instead of waiting for a server that will not answer.
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
        drop(self.listener);
        if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!(grace_s = GRACE.as_secs(), "connections were still open when time ran out");
        }
    }
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and waited for.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Peer::Address(peer.ip())))
            }
            Self::Unix(listener, _) => Ok((Box::new(listener.accept().await?.0), Peer::Local)),
        }
    }
}

fn serve(
    http: &auto::Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
    app: &App,
    router: &Router,
    connection: Box<dyn Connection>,
    peer: Peer,
) {
    let (app, router) = (app.clone(), router.clone());
    let service = hyper::service::service_fn(move |request| face(app.clone(), router.clone(), peer, request));
    let connection = http.serve_connection(TokioIo::new(connection), service).into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

/// Hands a request to the router, but a question for a decision, which is what gateways ask all day, straight to its handler:
/// routing, its layers and their boxes are a good part of what a warm decision costs (`benches/RESULTS.md`).
async fn face(app: App, router: Router, peer: Peer, mut request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    if request.method() == Method::POST && request.uri().path() == decisions::PATH {
        let Some(_seat) = app.seat() else { return Ok(Problem::overloaded().into_response()) };
        return Ok(decisions::answer(&app, Some(peer), request).await);
    }
    request.extensions_mut().insert(peer);
    // Boxed, so that its size is not carried by every question for a decision.
    Box::pin(router.oneshot(request.map(Body::new))).await
}

/// A socket left behind by a killed process is replaced; anything else at that path is not ours to remove.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt as _;
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something at that path, and it is not a socket",
            ));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}
