//! `verify REF`

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::context::{Context, json_text};
use super::failure::Failure;
use super::reference::{Reference, is_jws};
use super::remote::Remote;
use super::show::Show;
use super::{Outcome, args, dossier, exit};
use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::judge::Decision;
use countersign::revocation::kill_log::KillLog;
use countersign::service::{Service, kill_set};
use countersign::values::client::Kind;
use countersign::values::{Request, Timestamp};

const EXAMPLES: &str = "\
Examples:
  countersign verify https://client.example/oauth/metadata.json --scope files.read \\
      --redirect-uri https://client.example/cb
  countersign verify @statement.jwt --tool search --json
  countersign verify @request.json                     # the body of POST /v1/decisions
  countersign verify URL --save-dossier case-7         # keeps every input ...
  countersign verify --frozen --dossier case-7         # ... and decides from them alone, to the same bytes

Without --server it decides in this process, on the data directory, and leaves evidence there like a server does.
With --frozen nothing is fetched and nothing is written.

Exit code 0 allowed, 2 denied, 3 unresolved, 1 when it could not be decided at all.";

/// Decide once about a client.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// The client: a URL, a compact JWS, @FILE, or - for stdin. A file may hold either, or a whole request
    #[arg(value_name = "REF", required_unless_present = "dossier")]
    reference: Option<String>,
    /// What REF is, where that is ambiguous
    #[arg(long, value_enum)]
    kind: Option<KindName>,
    /// A software statement beside a URL: compact JWS, or @FILE
    #[arg(long, value_name = "JWS")]
    statement: Option<String>,
    /// The redirect URI of the authorization request
    #[arg(long, value_name = "URI")]
    redirect_uri: Option<String>,
    /// A scope asked for; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A tool asked for; repeat for more
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// The OAuth grant type
    #[arg(long, value_name = "TYPE")]
    grant_type: Option<String>,
    /// The resource asked for (RFC 8707)
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The gateway that the request came through
    #[arg(long)]
    gateway: Option<String>,
    /// Its region
    #[arg(long)]
    region: Option<String>,
    /// The address that the request came from
    #[arg(long)]
    ip: Option<IpAddr>,
    /// Resolve again, whatever a server's cache holds
    #[arg(long)]
    fresh: bool,
    /// List every finding of an allow in the answer too (people always see them, but for those of a server)
    #[arg(long)]
    explain: bool,
    /// Keep the request, every exhibit and the decision in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["frozen", "server"])]
    save_dossier: Option<PathBuf>,
    /// Decide from --dossier alone: no network, no evidence
    #[arg(long, requires = "dossier", conflicts_with = "server")]
    frozen: bool,
    /// The dossier to decide from
    #[arg(long, value_name = "DIR", requires = "frozen")]
    dossier: Option<PathBuf>,
    /// The clock for --frozen; default: when the dossier was decided, or now
    #[arg(long, value_name = "TIME", requires = "frozen", value_parser = args::moment)]
    at: Option<Timestamp>,
}

/// Kinds of client references.
#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    #[value(name = "metadata_document", alias = "metadata-document")]
    MetadataDocument,
    #[value(name = "software_statement", alias = "software-statement")]
    SoftwareStatement,
    #[value(name = "federation_entity", alias = "federation-entity")]
    FederationEntity,
    #[value(name = "spiffe")]
    Spiffe,
    #[value(name = "attested")]
    Attested,
}

impl KindName {
    const fn kind(self) -> Kind {
        match self {
            Self::MetadataDocument => Kind::MetadataDocument,
            Self::SoftwareStatement => Kind::SoftwareStatement,
            Self::FederationEntity => Kind::FederationEntity,
            Self::Spiffe => Kind::Spiffe,
            Self::Attested => Kind::Attested,
        }
    }
}

impl Verify {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if let (true, Some(directory)) = (self.frozen, &self.dossier) {
            return self.frozen(directory, context);
        }
        let request = self.request(Request::default())?;
        match Remote::of(context)? {
            Some(server) => {
                let body =
                    serde_json::to_value(&request).map_err(|error| Failure::new("request", error, "please report this"))?;
                let answer = context.block_on(server.send("POST", "/v1/decisions", Some(&body)))??;
                Ok(outcome(context, &answer, json_text(&answer), Show::new(context.paint, context.global.quiet)))
            }
            None => context.block_on(self.here(request, context))?,
        }
    }

    /// In this process, on the data directory.
    async fn here(&self, request: Request, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let service = open(&config).await?;
        // At a replica the first proof takes a moment; without it the answer says that it is missing.
        service.caught_up(std::time::Duration::from_millis(config.revocation.lease_ms)).await;
        let decided = service.decide_once(&request).await;
        let (answer, dossier) =
            decided.map_err(|error| Failure::new(config.data_dir.display(), error, "see `countersign doctor`"))?;
        let closed = service.close().await;
        closed.map_err(|error| Failure::new(config.data_dir.display(), error, "see `countersign doctor`"))?;
        if let Some(directory) = &self.save_dossier {
            dossier::write(directory, &request, &dossier, answer.decision())?;
        }
        let show = Show { exhibits: dossier::legend(&dossier), ..Show::new(context.paint, context.global.quiet) };
        let body = answer.to_body();
        Ok(outcome(context, &explained(&body, answer.decision()), line(body), show))
    }

    /// From a dossier alone.
    fn frozen(&self, directory: &Path, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let saved = dossier::read(directory)?;
        if self.reference.is_none() && saved.request.is_none() {
            let what = "has no request.json and no REF is given";
            return Err(Failure::new(directory.display(), what, "name the client as REF").usage());
        }
        let request = self.request(saved.request.unwrap_or_default())?;
        let rules = countersign::rules::load(&config)?;
        let kills = KillLog::read_only(&config.data_dir).map(|log| kill_set(log.orders()));
        let kills = kills.map_err(|error| Failure::new(config.data_dir.display(), error, "see `countersign doctor`"))?;
        let at = self.at.or(saved.at).unwrap_or_else(|| context.now());
        let decision: Decision = dossier::decide(&request, &saved.dossier, &rules, &kills, at)?;
        let show = Show { exhibits: dossier::legend(&saved.dossier), ..Show::new(context.paint, context.global.quiet) };
        let json = decision.to_json();
        Ok(outcome(context, &explained(&json, &decision), line(json), show))
    }

    /// The request: what a file says, then REF, then the options.
    fn request(&self, base: Request) -> Result<Request, Failure> {
        let mut request = base;
        match self.reference.as_deref().map(Reference::read).transpose()? {
            None => {}
            Some(Reference::Text(text)) if is_jws(&text) && self.kind.is_none() => {
                request.client.id = None;
                request.client.software_statement = Some(text);
            }
            Some(Reference::Text(text)) => request.client.id = Some(text),
            Some(Reference::Content(name, bytes)) => {
                let advice = "write the body of POST /v1/decisions; for a metadata document use `countersign lint`";
                request = serde_json::from_slice(&bytes).map_err(|error| Failure::new(name, error, advice).usage())?;
            }
        }
        if let Some(statement) = &self.statement {
            request.client.software_statement = Some(match Reference::read(statement)? {
                Reference::Text(jws) => jws,
                Reference::Content(name, _) => {
                    return Err(Failure::new(name, "does not hold one compact JWS", "name a file with a statement").usage());
                }
            });
        }
        self.options(&mut request);
        request.check().map_err(|error| Failure::new("request", error, "correct that option or member").usage())?;
        Ok(request)
    }

    fn options(&self, request: &mut Request) {
        let over = |slot: &mut Option<String>, value: &Option<String>| {
            if value.is_some() {
                slot.clone_from(value);
            }
        };
        request.client.kind = self.kind.map(KindName::kind).or(request.client.kind);
        over(&mut request.request.redirect_uri, &self.redirect_uri);
        over(&mut request.request.grant_type, &self.grant_type);
        over(&mut request.request.resource, &self.resource);
        over(&mut request.source.gateway, &self.gateway);
        over(&mut request.source.region, &self.region);
        for (slot, values) in [(&mut request.request.scopes, &self.scopes), (&mut request.request.tools, &self.tools)] {
            if !values.is_empty() {
                slot.clone_from(values);
            }
        }
        request.source.ip = self.ip.or(request.source.ip);
        request.options.fresh |= self.fresh;
        request.options.explain |= self.explain;
    }
}

/// Opens the service on the data directory. A server that holds it is the usual reason why that fails.
pub(crate) async fn open(config: &Config) -> Result<Service, Failure> {
    // For its owner and group: evidence names clients, people and addresses. Where it exists, its mode is the operator's choice.
    if !config.data_dir.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&config.data_dir);
        made.map_err(|error| Failure::new(config.data_dir.display(), error, "correct `data_dir`, or let this user create it"))?;
    }
    Service::open(config, Arc::new(SystemClock)).await.map_err(Failure::from)
}

/// What people see: every finding, whether or not the answer lists it.
fn explained(answer: &[u8], decision: &Decision) -> Value {
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap_or_default();
    let (mut answer, mut full) = (value(answer), value(&decision.explained().to_json()));
    if let (Some(shown), Some(all)) = (answer.get_mut("findings"), full.get_mut("findings")) {
        *shown = all.take();
    }
    answer
}

fn line(mut json: Vec<u8>) -> String {
    json.push(b'\n');
    String::from_utf8_lossy(&json).into_owned()
}

fn outcome(context: &Context, answer: &Value, json: String, show: Show) -> Outcome {
    let code = match answer.get("decision").and_then(Value::as_str) {
        Some("allow") => exit::OK,
        Some("deny") => exit::DENIED,
        _ => exit::UNRESOLVED,
    };
    let text = if context.global.json { json } else { show.decision(answer) };
    Outcome::done(text).exit(code)
}
