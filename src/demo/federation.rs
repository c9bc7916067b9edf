//! A federation of two levels in the demo world, made by the publisher: a trust anchor, an intermediate below it, and a client below that.

use std::path::Path;
use std::time::Duration;

use super::DemoError;
use super::origin::Page;
use crate::judge::jwk::Algorithm;
use crate::publisher::federation::enrol::Offer;
use crate::publisher::federation::{Approval, Publisher, anchor, claims};
use crate::values::Timestamp;

/// The trust anchor.
const ANCHOR: &str = "https://ta.federation.example";
/// The intermediate: it admits clients.
const INTERMEDIATE: &str = "https://agents.federation.example";
/// A client that only the federation knows.
pub const BOOKING: &str = "https://booking.federation.example";

/// What the client says about itself.
const CLIENT: &str = "\n[metadata.oauth_client]\nclient_name = \"Booking\"\ngrant_types = [\"client_credentials\"]\nscope = \"orders.read\"\n\
    token_endpoint_auth_method = \"private_key_jwt\"\n";

/// The three entities, each with its files.
pub(super) struct Federation {
    intermediate: Publisher,
    /// What they publish, by URL.
    pub(super) pages: Vec<(String, Page)>,
    /// The anchor's file for verifiers, approved.
    pub(super) file: String,
}

impl Federation {
    /// Makes it below a directory.
    pub(super) fn make(directory: &Path, at: Timestamp) -> Result<Self, DemoError> {
        let entity = |name: &str, id: &str, superiors: &[String]| {
            let publisher = Publisher::of(directory.join(name));
            publisher.create(id, superiors, Algorithm::ES256).map(|_| publisher)
        };
        let top = entity("anchor", ANCHOR, &[])?;
        let intermediate = entity("intermediate", INTERMEDIATE, &[ANCHOR.to_owned()])?;
        let client = entity("client", BOOKING, &[INTERMEDIATE.to_owned()])?;
        let path = directory.join("client/entity.toml");
        let said = std::fs::read_to_string(&path).map_err(DemoError::io(path.display()))?;
        std::fs::write(&path, said + CLIENT).map_err(DemoError::io(path.display()))?;
        let mut pages = Vec::new();
        enrol(&intermediate, &client, at, &mut pages)?;
        enrol(&top, &intermediate, at, &mut pages)?;
        let loaded = top.load()?;
        pages.push(configuration(ANCHOR, claims::sign_configuration(&loaded, at)?.text));
        let file = approved(&anchor::file(&loaded)?, at);
        Ok(Self { intermediate, pages, file })
    }

    /// The intermediate removes the client. Says which URL has no answer from now on.
    pub(super) fn remove(&self) -> Result<String, DemoError> {
        self.intermediate.remove(BOOKING)?;
        Ok(statement_url(INTERMEDIATE, BOOKING))
    }
}

/// A superior enrols a member with the keys that it shows, and both publish what they say.
fn enrol(superior: &Publisher, member: &Publisher, at: Timestamp, pages: &mut Vec<(String, Page)>) -> Result<(), DemoError> {
    let shown = claims::sign_configuration(&member.load()?, at)?.text;
    let offer = Offer::read(&shown, None, at).map_err(DemoError::Federation)?;
    let day = |time: Timestamp| {
        let text = time.to_string();
        let date = text.get(..10).unwrap_or_default().parse();
        date.map_err(|_| DemoError::Federation(format!("{text} is no date")))
    };
    let (on, until) = (day(at)?, day(at.plus(Duration::from_secs(90 * 86_400)))?);
    let approval = Approval { by: "registrar@federation.example".into(), ticket: "FED-2".into(), on, until };
    superior.add(&offer.approved(approval))?;
    let loaded = superior.load()?;
    for (id, subordinate) in &loaded.members {
        let statement = claims::sign_statement(&loaded, subordinate, at)?.text;
        pages.push((statement_url(loaded.entity.id(), id), Page::entity_statement(statement)));
    }
    pages.push(configuration(&offer.entity_id, shown));
    Ok(())
}

fn configuration(id: &str, statement: String) -> (String, Page) {
    (format!("{id}/.well-known/openid-federation"), Page::entity_statement(statement))
}

/// As verifiers ask for it: the identifier is percent-encoded (section 8.1.1).
fn statement_url(superior: &str, member: &str) -> String {
    format!("{superior}/federation/fetch?sub={}", member.replace(':', "%3A").replace('/', "%2F"))
}

/// What a verifier's operator fills in before the file loads.
fn approved(file: &str, at: Timestamp) -> String {
    let (on, until) = (at.minus(Duration::from_secs(86_400)), at.plus(Duration::from_secs(90 * 86_400)));
    let mut lines = Vec::new();
    for line in file.lines() {
        let (key, _) = line.split_once('=').map_or((line.trim(), ""), |(key, value)| (key.trim(), value));
        lines.push(match key {
            "by" => "by = \"platform-security@acme.example\"".to_owned(),
            "ticket" => "ticket = \"SEC-3\"".to_owned(),
            "# on" => format!("on = {on}"),
            "# until" => format!("until = {until}"),
            "classes" => "classes = [\"agent\"]".to_owned(),
            "scopes" => "scopes = [\"orders.*\"]".to_owned(),
            _ => line.to_owned(),
        });
    }
    lines.join("\n") + "\n[attributes]\nowner = \"partners@acme.example\"\npurpose = \"books orders\"\n"
}
