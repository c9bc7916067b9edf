//! `publish serve`

use std::sync::Arc;

use clap::Args;

use super::{Place, failure};
use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::publish::until_told;
use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::http::federation;

/// Serve the federation.
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen: HOST:PORT; over the configuration's `publisher.listen`. TLS is for the proxy before it
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Serve {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let federation = self.place.load(&config)?;
        let path = federation.entity.path().to_owned();
        drop(federation);
        context.block_on(self.serve(&config, &path))?
    }

    async fn serve(&self, config: &Config, path: &str) -> Result<Outcome, Failure> {
        let listen = self.listen.as_ref().unwrap_or(&config.publisher.listen);
        let cannot = |error: std::io::Error| Failure::new("cannot listen", error, "choose another address with --listen");
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let stop = until_told().map_err(cannot)?;
        crate::cli::to_stderr(&format!("listening on http://{address}{path}"));
        federation::serve(listener, self.place.publisher(config), Arc::new(SystemClock), stop).await.map_err(failure)?;
        Ok(Outcome::done(String::new()))
    }
}
