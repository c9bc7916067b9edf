//! `anchors sign`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::Outcome;
use crate::cli::args;
use crate::cli::context::{Context, json_text, read_file};
use crate::cli::failure::Failure;
use crate::cli::reference::is_jws;
use countersign::config::Config;
use countersign::judge::delegation::{BROKER, DEPTH_MAX};
use countersign::judge::jose::UnverifiedJws;
use countersign::judge::{Refusal, Rules, RulesSource};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::statements::{self, StatementSpec, TrialError};
use countersign::rules;
use countersign::values::json::{Json, Object};
use countersign::values::{ClientIdUrl, Code, Timestamp};

const EXAMPLES: &str = "\
Examples:
  countersign anchors sign --key registry.key.jwk --issuer https://registry.acme.example \\
      --client-id https://client.example/oauth/metadata.json --lifetime 1h \\
      --owner team@acme.example --purpose 'invoice agent' --class partner \\
      --scope files.read --scope search --tool files.read --redirect-uri https://client.example/cb

  countersign anchors sign --key k.jwk --issuer URL --client-id ID --claims more.json | countersign verify -

A chain: the registry lets an agent have one level of clients below itself, and the agent launches one with less:
  countersign anchors keygen --out agent.key.jwk > agent.jwks.json
  countersign anchors sign --key registry.key.jwk --issuer https://registry.acme.example \\
      --client-id https://agents.acme.example/lead --owner team@acme.example --purpose 'month end' --class agent \\
      --scope files.read --scope search --jwks agent.jwks.json --delegation-depth 1 > lead.jwt
  countersign anchors sign --key agent.key.jwk --parent lead.jwt \\
      --client-id https://agents.acme.example/lead/reader --scope files.read --lifetime 10m > reader.jwt
  countersign verify @reader.jwt --scope files.read
A child has what its parent has unless it says less; it never has more, and lives no longer.

The statement goes to stdout. Before that it is judged by the rules that a verifier would apply; what would be refused is said
on stderr.";

/// Sign a software statement about a client.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sign {
    /// The private key of who vouches, a registry or the parent, as `anchors keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// `iss`: who vouches; a trust anchor names it. With --parent: the parent's `sub`
    #[arg(long, value_name = "URL", required_unless_present = "parent")]
    issuer: Option<String>,
    /// The statement of the client that vouches, when that is not a registry: a file or the statement itself
    #[arg(long, value_name = "FILE|JWS")]
    parent: Option<String>,
    /// A JWK Set of the client's own public keys: with them it may vouch for others
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// How many levels of clients it may have below itself; 0: none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=i64::from(DEPTH_MAX)))]
    delegation_depth: Option<u8>,
    /// `sub` and `client_id`: for whom
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// How long it lives, at most the anchor's `max_lifetime`; default: 1h, or what is left of the parent's life if that is less
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    lifetime: Option<Duration>,
    /// `nbf`: when it begins, if later than now
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    not_before: Option<Timestamp>,
    /// A scope that the client may have; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A tool that the client may use; repeat for more
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// Who answers for the client; the default policy demands it
    #[arg(long)]
    owner: Option<String>,
    /// What the client is for; the default policy demands it
    #[arg(long)]
    purpose: Option<String>,
    /// Where it belongs: production, staging, ...
    #[arg(long)]
    environment: Option<String>,
    /// `client_class`: one of the anchor's `vouches.classes`
    #[arg(long)]
    class: Option<String>,
    /// A redirect URI; repeat for more
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// `software_id`
    #[arg(long, value_name = "ID")]
    software_id: Option<String>,
    /// `software_version`
    #[arg(long, value_name = "VERSION")]
    software_version: Option<String>,
    /// `aud`: the `issuer` of the only verifier that it is for
    #[arg(long, value_name = "ISSUER")]
    aud: Option<String>,
    /// `jti`; default: a new UUID
    #[arg(long)]
    jti: Option<String>,
    /// `status`: its entry in a status list (`countersign publish status-list`)
    #[arg(long, value_name = "URI#INDEX", value_parser = entry)]
    status: Option<(String, u64)>,
    /// A JSON object of further claims; options win over it
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// `typ` of the header
    #[arg(long, default_value = statements::TYPE)]
    typ: String,
}

fn entry(text: &str) -> Result<(String, u64), String> {
    let parts = text.rsplit_once('#').and_then(|(uri, index)| Some((uri.to_owned(), index.parse().ok()?)));
    parts.ok_or_else(|| "the list's URI, `#` and the number of the entry".to_owned())
}

impl Sign {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let key = read_file(&self.key, "name the private key that `countersign anchors keygen` wrote")?;
        let key = IssuerKey::parse(&key)
            .map_err(|error| Failure::new(self.key.display(), error, "use a key that `countersign anchors keygen` wrote"))?;
        let at = context.now();
        let spec = self.spec(at)?;
        let jti = self.jti.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let claims = statements::claims(&spec, at, &jti);
        let jws = key.sign(&self.typ, &claims);
        let jws = jws.map_err(|error| Failure::new(self.key.display(), error, "make another key with `anchors keygen`"))?;
        let warnings = self.warnings(&jws, &spec, &key, &config, at);
        let digest = UnverifiedJws::parse(&jws).map(|token| *token.digest()).ok();
        let text = if context.global.json {
            json_text(&serde_json::json!({
                "statement": jws, "claims": claims, "kid": key.kid(), "digest": digest,
                "expires": at.plus(spec.lifetime), "warnings": warnings,
            }))
        } else {
            format!("{jws}\n")
        };
        let mut outcome = Outcome::done(text);
        outcome.notes = warnings.iter().map(|warning| context.paint_err.warning_line(warning)).collect();
        Ok(outcome)
    }

    fn spec(&self, at: Timestamp) -> Result<StatementSpec, Failure> {
        let mut claims = match &self.claims {
            None => Object::default(),
            Some(path) => {
                let bytes = read_file(path, "name a file that holds a JSON object")?;
                let object = Json::parse_object(&bytes);
                object.map_err(|error| Failure::new(path.display(), error, "write one JSON object without repeated names"))?
            }
        };
        if let Some((uri, index)) = &self.status {
            let (mut list, mut status) = (Object::default(), Object::default());
            list.set("idx", Json::Integer(*index));
            list.set("uri", Json::String(uri.clone()));
            status.set("status_list", Json::Object(list));
            claims.set("status", Json::Object(status));
        }
        let parent = self.parent.as_deref().map(parent).transpose()?;
        let left = parent.as_ref().and_then(|parent| parent.ends).map(|ends| ends.since(at));
        let (parent, subject) = parent.map_or((None, None), |parent| (Some(parent.jws), Some(parent.subject)));
        Ok(StatementSpec {
            issuer: self.issuer.clone().or(subject).unwrap_or_default(),
            parent,
            keys: self.jwks.as_deref().map(client_keys).transpose()?,
            delegation_depth: self.delegation_depth,
            client_id: self.client_id.clone(),
            lifetime: self.lifetime.unwrap_or_else(|| left.unwrap_or(LIFETIME).min(LIFETIME)),
            not_before: self.not_before,
            audience: self.aud.clone(),
            scopes: self.scopes.clone(),
            tools: self.tools.clone(),
            owner: self.owner.clone(),
            purpose: self.purpose.clone(),
            environment: self.environment.clone(),
            class: self.class.clone(),
            redirect_uris: self.redirect_uris.clone(),
            software_id: self.software_id.clone(),
            software_version: self.software_version.clone(),
            claims,
        })
    }

    /// What a verifier would refuse: any verifier, and the one whose trust anchors are here.
    fn warnings(&self, jws: &str, spec: &StatementSpec, key: &IssuerKey, config: &Config, now: Timestamp) -> Vec<String> {
        let mut warnings = Vec::new();
        // A statement that begins later is judged as of then.
        let at = spec.not_before.unwrap_or(now).max(now);
        let refused = |refusal: Refusal| format!("{}: {}", refusal.code, refusal.detail);
        let loaded = rules::load(config).and_then(|rules| Rules::parse(statements::without_source_limits(rules.source())));
        let here = match loaded {
            Ok(rules) => rules,
            Err(error) => return vec![format!("not judged, the trust anchors here do not load: {error}")],
        };
        match self.anywhere(jws, spec, key, here.source(), at) {
            Ok(Some(Err(refusal))) => warnings.push(format!("every verifier would refuse this: {}", refused(refusal))),
            Ok(_) => {
                let root = statements::root_issuer(jws).unwrap_or_default();
                let known = here.issuer_anchors(&root).next().is_some();
                if let Some(Err(refusal)) = known.then(|| trial(jws, &here, at)).flatten() {
                    warnings.push(format!("the trust anchors here would refuse this: {}", refused(refusal)));
                }
            }
            Err(error) => warnings.push(format!("not judged: {error}")),
        }
        if spec.client_id.contains("://")
            && let Err(error) = ClientIdUrl::parse(&spec.client_id)
        {
            warnings.push(format!("--client-id looks like a URL but cannot be one of a metadata document: {error}"));
        }
        warnings
    }

    /// What a verifier that trusts the one who signs would say.
    fn anywhere(
        &self,
        jws: &str,
        spec: &StatementSpec,
        key: &IssuerKey,
        base: &RulesSource,
        at: Timestamp,
    ) -> Result<Option<Result<(), Refusal>>, TrialError> {
        // `client_class` and `parent` may also come from --claims.
        let claims = statements::unverified_claims(jws).unwrap_or_default();
        if claims.has("parent") {
            return statements::trial_child(&claims, key, &self.typ, base, at);
        }
        let class = claims.get("client_class").and_then(Json::as_str);
        let rules = statements::most_trusting_rules(&spec.issuer, class, &key.public_set(), base)?;
        Ok(trial(jws, &rules, at))
    }
}

/// A broker's statement is there for its children: that it cannot act is no fault of it.
fn trial(jws: &str, rules: &Rules, at: Timestamp) -> Option<Result<(), Refusal>> {
    let claims = statements::unverified_claims(jws).unwrap_or_default();
    let broker = claims.get("client_class").and_then(Json::as_str) == Some(BROKER);
    let outcome = statements::trial(jws, rules, at)?;
    Some(outcome.or_else(|refusal| if broker && refusal.code == Code::DelegationBrokerActs { Ok(()) } else { Err(refusal) }))
}

/// The life of a statement when nothing is said.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The parent's statement, whom it is about, and until when.
struct Parent {
    jws: String,
    subject: String,
    ends: Option<Timestamp>,
}

fn parent(text: &str) -> Result<Parent, Failure> {
    let advice = "name the parent's statement, as `countersign anchors sign` wrote it, with --parent";
    let jws = if is_jws(text) {
        text.to_owned()
    } else {
        String::from_utf8_lossy(&read_file(Path::new(text), advice)?).trim().to_owned()
    };
    let claims = statements::unverified_claims(&jws).unwrap_or_default();
    let Some(subject) = claims.get("sub").and_then(Json::as_str) else {
        return Err(Failure::new("--parent", "it is no statement with a `sub`", advice));
    };
    let ends = match claims.get("exp") {
        Some(Json::Integer(seconds)) => Some(Timestamp::from_secs(*seconds)),
        _ => None,
    };
    Ok(Parent { subject: subject.to_owned(), ends, jws })
}

fn client_keys(path: &Path) -> Result<Object, Failure> {
    let bytes = read_file(path, "name the JWK Set that `countersign anchors keygen` printed for the client")?;
    let advice = "name a file with public keys only, such as `countersign anchors keygen` prints";
    statements::public_keys(&bytes).map_err(|error| Failure::new(path.display(), error, advice))
}
