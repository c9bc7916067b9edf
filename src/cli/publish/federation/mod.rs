//! `publish init | add | remove | list | sign | serve | anchor-file`: a federation.

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::verify;
use countersign::config::Config;
use countersign::publisher::federation::{Federation, FederationError, Publisher};
use countersign::record::Published;
use countersign::values::{Digest, Timestamp};

pub(super) mod add;
pub(super) mod anchor_file;
pub(super) mod init;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod serve;
pub(super) mod sign;

/// Where the federation is.
#[derive(Args)]
pub(super) struct Place {
    /// The federation's directory; over the configuration's `publisher.dir`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Who answers for an act.
#[derive(Args)]
pub(super) struct By {
    /// Who approves it
    #[arg(long, value_name = "NAME", value_parser = words)]
    approved_by: String,
    /// Where that is tracked
    #[arg(long, value_parser = words)]
    ticket: String,
}

/// An act, for the evidence.
struct Act {
    name: &'static str,
    entity: String,
    subject: String,
    digest: Digest,
}

impl Place {
    fn publisher(&self, config: &Config) -> Publisher {
        Publisher::of(self.dir.clone().unwrap_or_else(|| config.publisher.dir.clone()))
    }

    /// The federation, which is the one that the configuration names, if it names one.
    fn load(&self, config: &Config) -> Result<Federation, Failure> {
        let federation = self.publisher(config).load().map_err(failure)?;
        let (id, named) = (federation.entity.id(), &config.publisher.entity_id);
        if !named.is_empty() && named != id {
            let what = format!("publisher.entity_id = {named:?}, and the directory is of {id:?}");
            return Err(Failure::new("federation", what, "correct the configuration, or name another directory with --dir"));
        }
        Ok(federation)
    }
}

/// Does something, and puts it on record where there is a data directory. The log is opened before: what cannot be recorded is not done.
/// Notes say when there is none.
fn act<T>(
    context: &Context,
    by: (&str, &str, Option<&str>),
    work: impl FnOnce(&Config) -> Result<(Act, T), Failure>,
) -> Result<(T, Vec<String>), Failure> {
    let config = context.config()?;
    if !config.data_dir.exists() {
        let note = format!("not put on record: there is no data directory {}", config.data_dir.display());
        return Ok((work(&config)?.1, if context.global.quiet { Vec::new() } else { vec![note] }));
    }
    context.block_on(async {
        let service = verify::open(&config).await?;
        let done = match work(&config) {
            Ok((act, done)) => {
                let (who, ticket, reason) = by;
                let record = Published {
                    at: Timestamp::from_millis(0),
                    act: act.name.to_owned(),
                    entity: act.entity,
                    subject: act.subject,
                    digest: act.digest,
                    by: who.to_owned(),
                    ticket: ticket.to_owned(),
                    reason: reason.map(str::to_owned),
                };
                let recorded = service.record_published(record).await;
                let lost = |error| Failure::new("publish", error, "it is done, and not on record; look at the disk");
                recorded.map(|()| done).map_err(lost)
            }
            Err(failure) => Err(failure),
        };
        let closed = service.close().await;
        let done = done?;
        closed.map_err(|error| Failure::new("publish", error, "it is done; look at the disk"))?;
        Ok((done, Vec::new()))
    })?
}

fn failure(error: FederationError) -> Failure {
    let advice = match &error {
        FederationError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "make a federation with `countersign publish init`, or name its directory with --dir"
        }
        FederationError::Io { .. } => "look at the directory and its permissions",
        FederationError::Rule { .. } => "correct that; docs/federation-publishing.md explains each file",
        FederationError::KeyFile(_) | FederationError::Key(_) => {
            "put the key back as `publish init` or `anchors keygen` wrote it"
        }
    };
    Failure::new("federation", error, advice)
}

/// A text that says something, and fits into a record.
fn words(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("write 1 to 256 characters".to_owned());
    }
    Ok(text.to_owned())
}
