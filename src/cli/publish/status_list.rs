//! `publish status-list create | set | sign | serve`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::args;
use crate::cli::context::{Context, json_text, read_file};
use crate::cli::failure::Failure;
use crate::cli::publish::until_told;
use countersign::clock::SystemClock;
use countersign::http::status_lists;
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::status_lists::{ListError, StatusListFile, StatusLists};

const EXAMPLES: &str = "\
Examples:
  countersign anchors keygen --out registry.key.jwk > registry.jwks.json
  countersign publish status-list create agents --uri https://status.acme.example/status-lists/agents --size 100000
  countersign publish status-list set agents 4711 4712 --status invalid
  countersign publish status-list sign --key registry.key.jwk
  countersign publish status-list serve --key registry.key.jwk --listen 127.0.0.1:8660

A statement names its entry: countersign anchors sign … --status https://status.acme.example/status-lists/agents#4711
Lists are signed with a key of whoever signs the statements. `sign` writes files for any web server (application/statuslist+jwt);
`serve` signs again by itself. CRLs are not made here: that is for the tools of the CA.";

/// Status lists.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum StatusListCommand {
    /// Make a list in which everything is valid
    Create(Create),
    /// Say which entries are valid, invalid or suspended from now on
    Set(Set),
    /// Write a signed token of each list, or of those named
    Sign(Sign),
    /// Serve the lists, signed again as they change and age
    Serve(Serve),
}

#[derive(Args)]
pub(crate) struct Place {
    /// The publisher's directory: its files are the truth
    #[arg(long, value_name = "DIR", default_value = "federation")]
    dir: PathBuf,
}

/// Make a list.
#[derive(Args)]
pub(crate) struct Create {
    /// Its name: letters, digits, `-` and `_`
    id: String,
    #[command(flatten)]
    place: Place,
    /// Where it will be published; statements name this
    #[arg(long, value_name = "URL")]
    uri: String,
    /// How many entries
    #[arg(long, default_value_t = 1_000_000)]
    size: u64,
    /// Bits of an entry: 1 knows valid and invalid, 2 suspended too
    #[arg(long, default_value_t = 2)]
    bits: u8,
    /// How soon verifiers ask again: so long a revocation may take
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = args::duration)]
    ttl: Duration,
    /// How long a token may be used
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = args::duration)]
    lifetime: Duration,
    /// Where the lists are listed, if they are
    #[arg(long, value_name = "URL")]
    aggregation_uri: Option<String>,
}

/// Change entries.
#[derive(Args)]
pub(crate) struct Set {
    /// Which list
    id: String,
    /// Which entries
    #[arg(required = true)]
    indexes: Vec<u64>,
    /// `valid`, `invalid`, `suspended`, or a number of the application's own
    #[arg(long, value_parser = status)]
    status: u8,
    #[command(flatten)]
    place: Place,
}

/// Sign.
#[derive(Args)]
pub(crate) struct Sign {
    /// Which lists; all without any
    ids: Vec<String>,
    /// The private key, as `anchors keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Serve.
#[derive(Args)]
pub(crate) struct Serve {
    /// The private key, as `anchors keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Where to listen: HOST:PORT. TLS is for the proxy before it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8660")]
    listen: String,
}

impl StatusListCommand {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Create(create) => create.run(context),
            Self::Set(set) => set.run(context),
            Self::Sign(sign) => sign.run(context),
            Self::Serve(serve) => context.block_on(serve.serve())?,
        }
    }
}

impl Create {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let list = StatusListFile {
            uri: self.uri.clone(),
            bits: self.bits,
            size: self.size,
            ttl_s: self.ttl.as_secs(),
            lifetime_s: self.lifetime.as_secs(),
            aggregation_uri: self.aggregation_uri.clone(),
            entries: std::collections::BTreeMap::new(),
        };
        StatusLists::of(&self.place.dir).create(&self.id, &list).map_err(failure)?;
        let said = format!("{}: {} entries, all valid\n", self.id, self.size);
        Ok(Outcome::done(answer(context, &json!({ "id": self.id, "uri": self.uri, "size": self.size }), said)))
    }
}

impl Set {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let lists = StatusLists::of(&self.place.dir);
        let list = lists.change(&self.id, |list| list.set(&self.indexes, self.status)).map_err(failure)?;
        let said = format!("{}: {} set, {} entries are not valid\n", self.id, self.indexes.len(), list.entries.len());
        let json = json!({ "id": self.id, "set": self.indexes, "status": self.status, "not_valid": list.entries.len() });
        let mut outcome = Outcome::done(answer(context, &json, said));
        outcome.notes.push("verifiers see it after the next `publish status-list sign`; `serve` signs by itself".to_owned());
        Ok(outcome)
    }
}

impl Sign {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (lists, key) = (StatusLists::of(&self.place.dir), key(&self.key)?);
        let ids = if self.ids.is_empty() { lists.ids().map_err(failure)? } else { self.ids.clone() };
        let mut signed = Vec::new();
        for id in ids {
            signed.push(lists.sign(&id, &key, context.now()).map_err(failure)?.display().to_string());
        }
        let said = signed.iter().map(|path| format!("{path}\n")).collect();
        Ok(Outcome::done(answer(context, &json!({ "signed": signed }), said)))
    }
}

impl Serve {
    async fn serve(&self) -> Result<Outcome, Failure> {
        let (lists, key) = (StatusLists::of(&self.place.dir), key(&self.key)?);
        lists.ids().map_err(failure)?;
        let cannot = |error: std::io::Error| Failure::new("cannot listen", error, "choose another address with --listen");
        let listener = tokio::net::TcpListener::bind(&self.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let stop = until_told().map_err(cannot)?;
        crate::cli::to_stderr(&format!("listening on http://{address}/status-lists"));
        status_lists::serve(listener, lists, key, Arc::new(SystemClock), stop).await.map_err(cannot)?;
        Ok(Outcome::done(String::new()))
    }
}

fn status(text: &str) -> Result<u8, String> {
    match text {
        "valid" => Ok(0),
        "invalid" => Ok(1),
        "suspended" => Ok(2),
        number => number.parse().map_err(|_| "`valid`, `invalid`, `suspended` or a number from 0 to 255".to_owned()),
    }
}

fn key(path: &std::path::Path) -> Result<IssuerKey, Failure> {
    let bytes = read_file(path, "name the private key that `countersign anchors keygen` wrote")?;
    IssuerKey::parse(&bytes)
        .map_err(|error| Failure::new(path.display(), error, "use a key that `countersign anchors keygen` wrote"))
}

fn answer(context: &Context, json: &serde_json::Value, said: String) -> String {
    if context.global.json { json_text(json) } else { said }
}

fn failure(error: ListError) -> Failure {
    Failure::new("status list", error, "`countersign publish status-list --help` shows how lists are made")
}
