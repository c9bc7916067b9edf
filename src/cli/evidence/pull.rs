//! `evidence pull`: the evidence of another machine, out of the object store that it is kept in.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::keep::{self, Store};

const AFTER_HELP: &str = "\
Credentials come from the environment, as the store's own tools take them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL (and AWS_ALLOW_HTTP=true for one without TLS), GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ...

What is read is verified against the key that is kept beside it. Compare that key with what the log's owner says it is. Then, with the
configuration that is written into the directory:

Examples:
  countersign evidence pull --from s3://evidence/prod --into ./eu-west-1
  countersign --config ./eu-west-1/countersign.toml evidence verify
  countersign --config ./eu-west-1/countersign.toml evidence list --decision deny
  countersign --config ./eu-west-1/countersign.toml evidence replay --all";

/// Read the evidence of another machine out of the object store that it is kept in.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Pull {
    /// The store, as `evidence.seal` names it [default: the configuration's]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Which log, without its epoch, when there are several
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
}

impl Pull {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let url = self.from.clone().unwrap_or(config.evidence.seal);
        if url.is_empty() {
            return Err(Failure::new("--from", "no store is named", "name one, or a configuration that has `evidence.seal`"));
        }
        let store = Store::connect(&url, &config.fetch.extra_roots)?;
        let (log, pulled) = context.block_on(async {
            let log = match &self.log {
                Some(log) => log.clone(),
                None => the_only(keep::logs(&store).await?)?,
            };
            let bar = super::verify::progress(context, "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            let progress = |done: u64, of: u64| {
                bar.set_length(of);
                bar.set_position(done);
            };
            let pulled = keep::pull(&store, &log, &self.into, &progress).await?;
            bar.finish_and_clear();
            Ok::<_, Failure>((log, pulled))
        })??;
        if pulled.is_empty() {
            return Err(Failure::new(
                &url,
                format!("there is no log {log}"),
                "without --log, the only one is taken, or all are named",
            ));
        }
        let configured = write_config(&self.into, &log)?;
        let epochs = pulled
            .iter()
            .map(|p| json!({ "epoch": p.epoch, "records": p.records, "bytes": p.bytes, "vkey": p.vkey.to_string() }));
        if context.global.json {
            let epochs: Vec<_> = epochs.collect();
            return Ok(Outcome::done(json_text(&json!({ "log": log, "into": self.into, "epochs": epochs }))));
        }
        let mut text = format!("{log}\n");
        for p in &pulled {
            text.push_str(&format!("  epoch {}: {} records, signed by {}\n", p.epoch, p.records, p.vkey));
        }
        text.push_str(&format!(
            "Compare the key with what the owner says. Next: countersign --config {configured} evidence verify\n"
        ));
        Ok(Outcome::done(text))
    }
}

fn the_only(logs: Vec<String>) -> Result<String, Failure> {
    match logs.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new("--from", "there is no log in this place", "look at the prefix, and at who may list it")),
        several => Err(Failure::new("--log", format!("there are several: {}", several.join(", ")), "choose one")),
    }
}

/// The names that the decisions of this log go by, so that their ids are found.
fn write_config(into: &std::path::Path, log: &str) -> Result<String, Failure> {
    let path = into.join("countersign.toml");
    let mut parts = log.rsplitn(4, '/');
    let (replica, region, _, host) = (parts.next(), parts.next(), parts.next(), parts.next());
    let [replica, region, host] = [replica, region, host].map(Option::unwrap_or_default);
    let text = format!(
        "# Written by `countersign evidence pull`: for reading this evidence.\nissuer = \"https://{host}\"\nregion = \"{region}\"\n\
         replica = \"{replica}\"\ndata_dir = \".\"\n"
    );
    let written = std::fs::write(&path, text);
    written.map_err(|error| Failure::new(path.display(), error, "check the directory's permissions"))?;
    Ok(path.display().to_string())
}
