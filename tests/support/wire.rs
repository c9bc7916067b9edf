//! A wire between two processes on loopback, which a test can cut: what is sent then arrives nowhere, and nobody is told.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A wire to an address. It ends with the test.
pub(crate) struct Wire {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Wire {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, whole) = (listener.local_addr().unwrap(), watch::Sender::new(true));
        let state = whole.subscribe();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(stream, target, state.clone()));
            }
        });
        Self { address, whole }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

/// Carries bytes both ways while the wire is whole; then holds the connection open, and says nothing.
async fn carry(mut from: TcpStream, target: SocketAddr, mut whole: watch::Receiver<bool>) {
    drop(whole.wait_for(|whole| *whole).await);
    #[expect(clippy::disallowed_methods, reason = "a test is the network, not the fetcher")]
    let Ok(mut to) = TcpStream::connect(target).await else {
        return;
    };
    let cut = async { drop(whole.wait_for(|whole| !*whole).await) };
    let was_cut = tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => false,
        () = cut => true,
    };
    if was_cut {
        std::future::pending::<()>().await;
    }
}
