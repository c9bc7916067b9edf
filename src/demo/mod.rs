//! A world to verify in: an HTTPS origin with good and bad clients, a registry that signs statements, and the configuration and
//! trust anchors of a verifier that knows them. All on loopback, in one directory, with a certificate authority of its own;
//! nothing outside of this machine is needed or touched.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::judge::jwk::Algorithm;
use crate::judge::policy::PolicySource;
use crate::publisher::federation::FederationError;
use crate::publisher::keys::issuer::{IssuerKey, KeyError};
use crate::publisher::statements::{self, StatementSpec};
use crate::publisher::status_lists::{ListError, StatusListFile};
use crate::values::Timestamp;
use crate::values::json::Json;

mod documents;
mod federation;
mod origin;

pub use documents::{
    AGENT, CHAT, CLI, HUGE, LEGACY, MOVED, PARTNER, PARTNER_AGENT, REGISTRY, SPAWNED_AGENT, STATUS_LIST, STRANGER, TAKEN_BACK,
    THIEF,
};
pub use federation::BOOKING;
pub use origin::Origin;

/// Why the world cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or a socket.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A key of the registry.
    #[error("registry key: {0}")]
    Key(#[from] KeyError),
    /// Its status list.
    #[error("status list: {0}")]
    List(#[from] ListError),
    /// Its federation's files.
    #[error("federation: {0}")]
    Publisher(#[from] FederationError),
    /// Its federation.
    #[error("federation: {0}")]
    Federation(String),
}

impl DemoError {
    fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        |source| Self::Io { what, source }
    }
}

/// The running world. Its origin stops with the runtime.
pub struct World {
    directory: PathBuf,
    origin: Origin,
    registry: IssuerKey,
    impostor: IssuerKey,
    partner_agent: IssuerKey,
    federation: federation::Federation,
}

impl World {
    /// Starts the origin and writes the configuration into a directory. `at` is the time that approvals are written for.
    ///
    /// # Errors
    /// When a file cannot be written or a port not be had.
    pub async fn start(directory: &Path, at: Timestamp) -> Result<Self, DemoError> {
        std::fs::create_dir_all(directory.join("trust-anchors")).map_err(DemoError::io(directory.display()))?;
        let registry = IssuerKey::generate(Algorithm::ES256, Some("registry-1"))?;
        // The same `kid`: what tells the two apart is the signature alone.
        let impostor = IssuerKey::generate(Algorithm::ES256, Some("registry-1"))?;
        let statuses = statuses().sign(&registry, at)?;
        let mut federation = federation::Federation::make(&directory.join("federation"), at)?;
        let pages = documents::all(&registry, statuses).into_iter().chain(std::mem::take(&mut federation.pages)).collect();
        let origin = Origin::start(&directory.join("ca.pem"), pages).await?;
        let partner_agent = IssuerKey::generate(Algorithm::EdDSA, Some("orders-1"))?;
        let world = Self { directory: directory.to_owned(), origin, registry, impostor, partner_agent, federation };
        world.write("countersign.toml", &world.configuration())?;
        for (name, text) in documents::anchors(at) {
            world.write(&format!("trust-anchors/{name}"), &text)?;
        }
        world.write("trust-anchors/federation.toml", &world.federation.file)?;
        let policies = directory.join("policies");
        std::fs::create_dir_all(&policies).map_err(DemoError::io(policies.display()))?;
        for file in PolicySource::default().files {
            world.write(&format!("policies/{}", file.name), &file.text)?;
        }
        world.write("policies/partners.cedar", documents::PARTNER_POLICY)?;
        world.write("policies/entities.json", documents::TOOL_GROUPS)?;
        Ok(world)
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("countersign.toml")
    }

    /// The federation's intermediate removes its member.
    ///
    /// # Errors
    /// When its files cannot be changed.
    pub fn remove_member(&self) -> Result<(), DemoError> {
        self.origin.take_away(&self.federation.remove()?);
        Ok(())
    }

    /// The origin.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A statement of the registry about the agent: an hour, `files.*` and `search`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn statement(&self, at: Timestamp, jti: &str) -> Result<String, DemoError> {
        Ok(self.registry.sign(statements::TYPE, &statements::claims(&agent(), at, jti))?)
    }

    /// The same statement, which names an entry of the registry's status list.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn listed_statement(&self, at: Timestamp, jti: &str, index: u64) -> Result<String, DemoError> {
        let mut claims = statements::claims(&agent(), at, jti);
        let status = serde_json::json!({ "status_list": { "idx": index, "uri": STATUS_LIST } });
        claims.set("status", Json::parse(status.to_string().as_bytes()).unwrap_or(Json::Null));
        Ok(self.registry.sign(statements::TYPE, &claims)?)
    }

    /// The same statement, signed by somebody who only claims to be the registry.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn forged_statement(&self, at: Timestamp, jti: &str) -> Result<String, DemoError> {
        Ok(self.impostor.sign(statements::TYPE, &statements::claims(&agent(), at, jti))?)
    }

    /// A statement of the registry about the partner's agent: an hour, one tool, and the key with which it may launch one level
    /// of agents.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn delegating_statement(&self, at: Timestamp, jti: &str) -> Result<String, DemoError> {
        self.about_partner_agent(at, jti, Some("orders@supplier.example"))
    }

    /// The same statement, but nobody answers for the client.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn ownerless_statement(&self, at: Timestamp, jti: &str) -> Result<String, DemoError> {
        self.about_partner_agent(at, jti, None)
    }

    /// A statement of the partner's agent about one that it launches: ten minutes, one scope less. `parent` is its own.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn spawned_statement(&self, at: Timestamp, jti: &str, parent: &str) -> Result<String, DemoError> {
        let spec = StatementSpec {
            issuer: PARTNER_AGENT.into(),
            client_id: SPAWNED_AGENT.into(),
            lifetime: Duration::from_secs(600),
            scopes: vec!["files.read".into()],
            purpose: Some("reads one order".into()),
            parent: Some(parent.to_owned()),
            ..StatementSpec::default()
        };
        Ok(self.partner_agent.sign(statements::TYPE, &statements::claims(&spec, at, jti))?)
    }

    fn about_partner_agent(&self, at: Timestamp, jti: &str, owner: Option<&str>) -> Result<String, DemoError> {
        let spec = StatementSpec {
            issuer: REGISTRY.into(),
            client_id: PARTNER_AGENT.into(),
            lifetime: Duration::from_secs(3600),
            scopes: vec!["files.read".into(), "search".into()],
            tools: vec!["files.read".into(), "files.delete".into()],
            owner: owner.map(str::to_owned),
            purpose: Some("books orders".into()),
            environment: Some("production".into()),
            class: Some("partner".into()),
            keys: statements::public_keys(self.partner_agent.public_set().to_string().as_bytes()).ok(),
            delegation_depth: Some(1),
            ..StatementSpec::default()
        };
        Ok(self.registry.sign(statements::TYPE, &statements::claims(&spec, at, jti))?)
    }

    /// Where names are, how special-use addresses may be dialled, whose certificates are believed: what makes loopback look
    /// like the internet to the fetcher.
    fn configuration(&self) -> String {
        let mut text = String::from(
            "# Written by `countersign demo`. Only a demo may dial loopback.\n\
             listen = \"127.0.0.1:0\"\nissuer = \"https://verifier.example\"\nregion = \"demo\"\n\n\
             [fetch]\nextra_roots = [\"ca.pem\"]\nallow_networks = [\"127.0.0.0/8\"]\n\n[fetch.resolve]\n",
        );
        for name in documents::hosts() {
            let _ = writeln!(text, "\"{name}\" = \"{}\"", self.origin.address());
        }
        text.push_str("\n[evidence]\nreserve_mb = 16\n");
        text
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).map_err(DemoError::io(path.display()))
    }
}

/// The registry's status list.
fn statuses() -> StatusListFile {
    let mut list = StatusListFile {
        uri: STATUS_LIST.to_owned(),
        bits: 2,
        size: 10_000,
        ttl_s: 60,
        lifetime_s: 86_400,
        aggregation_uri: None,
        entries: std::collections::BTreeMap::new(),
    };
    list.set(&[TAKEN_BACK], 1);
    list
}

fn agent() -> StatementSpec {
    StatementSpec {
        issuer: REGISTRY.into(),
        client_id: AGENT.into(),
        lifetime: Duration::from_secs(3600),
        scopes: vec!["files.read".into(), "files.write".into(), "search".into()],
        tools: vec!["files.read".into(), "search".into()],
        owner: Some("ledger-team@acme.example".into()),
        purpose: Some("reconciles invoices".into()),
        environment: Some("production".into()),
        class: Some("agent".into()),
        software_id: Some("ledger-agent".into()),
        software_version: Some("2.4.1".into()),
        ..StatementSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::judge::dossier::{Exhibit, Outcome, Response};
    use crate::judge::{Decision, Dossier, KillSet, Step, judge};
    use crate::values::Request;

    /// The answer of the demo's verifier; the registry's keys are all that it may fetch.
    fn ask(world: &World, at: Timestamp, statement: &str) -> Decision {
        let config = Config::load(Some(&world.config_file()), []).unwrap();
        let (rules, kills, mut dossier) = (crate::rules::load(&config).unwrap(), KillSet::default(), Dossier::new());
        let mut request = Request::default();
        request.client.software_statement = Some(statement.to_owned());
        request.source.gateway = Some("gw-demo".into());
        (request.request.scopes, request.request.tools) =
            (vec!["files.read".into(), "search".into()], vec!["files.read".into(), "search".into()]);
        loop {
            match judge(&request, &dossier, &rules, &kills, at) {
                Step::Decided(decision) => return decision,
                Step::Need(wants) => {
                    for want in wants {
                        let keys = world.registry.public_set().to_string();
                        let outcome = Outcome::Response(Response::new(200, vec![], keys.as_bytes().into()));
                        let exhibit = Exhibit { outcome, obtained_at: at, checked_at: at };
                        assert!(dossier.get(&want.locator).is_none());
                        dossier.insert(want.locator, Arc::new(exhibit));
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn an_agent_launches_one_with_less() {
        let directory = tempfile::tempdir().unwrap();
        let at = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        let world = World::start(directory.path(), at).await.unwrap();
        let own = world.delegating_statement(at, "j1").unwrap();
        let child = world.spawned_statement(at, "j2", &own).unwrap();
        let granted = |statement: &str| {
            let decision = ask(&world, at, statement);
            let crate::judge::Verdict::Allow(allowed) = decision.verdict() else { panic!("{}", decision.detail()) };
            let lives = allowed.not_after().since(at).as_secs();
            (allowed.grant().scopes().join(" "), allowed.grant().tools().join(" "), lives)
        };
        assert_eq!(granted(&own), ("files.read search".into(), "files.read".into(), 3600));
        assert_eq!(granted(&child), ("files.read".into(), "files.read".into(), 600));
        assert_eq!(ask(&world, at, &world.ownerless_statement(at, "j3").unwrap()).code().name(), "policy.denied");
        // A child of a child is one level too many.
        let third = world.spawned_statement(at, "j4", &child).unwrap();
        assert_eq!(ask(&world, at, &third).code().name(), "delegation.too_deep");
    }
}
