//! `publish serve`

use std::sync::Arc;

use clap::Args;

use super::{Place, failure};
use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::publish::until_told;
use crate::cli::serve::start_logging;
use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::http::federation as http;
use countersign::publisher::federation::Federation;

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
        start_logging();
        context.block_on(self.serve(&config, federation))?
    }

    async fn serve(&self, config: &Config, federation: Federation) -> Result<Outcome, Failure> {
        let listen = self.listen.as_ref().unwrap_or(&config.publisher.listen);
        let cannot = |error: std::io::Error| Failure::new("cannot listen", error, "choose another address with --listen");
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let stop = until_told().map_err(cannot)?;
        crate::cli::to_stderr(&format!("listening on http://{address}{}", federation.entity.path()));
        let publisher = self.place.publisher(config);
        http::serve(listener, publisher, federation, Arc::new(SystemClock), stop).await.map_err(failure)?;
        Ok(Outcome::done(String::new()))
    }
}
