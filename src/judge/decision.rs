//! A decision as data: the verdict, what the allow covers, how long it lives and what it rests on.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::values::{Code, Digest, Timestamp};

use super::anchors::Anchor;
use super::delegation::Link;
use super::finding::{Finding, Refusal};
use super::grant::Grant;
use super::history::{Fingerprint, Known};
use super::metadata::ClientMetadata;
use super::policy::Permit;
use super::relief::Relieved;
use super::revocation::{Feed, Standing, Target};
use super::sources::RevocationSource;
use super::status::Looked;

/// How a client was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// From its metadata document alone.
    MetadataDocument,
    /// From a software statement alone.
    SoftwareStatement,
    /// From both, and both hold.
    DocumentAndStatement,
    /// From a statement that it signed itself, with a key that certificates lead from to an anchor.
    X509,
}

impl Method {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetadataDocument => "metadata_document",
            Self::SoftwareStatement => "software_statement",
            Self::DocumentAndStatement => "metadata_document+software_statement",
            Self::X509 => "x509",
        }
    }

    /// The assurance that it gives (R2): who says so.
    #[must_use]
    pub const fn assurance(self) -> &'static str {
        match self {
            Self::MetadataDocument => "self_asserted",
            Self::SoftwareStatement | Self::DocumentAndStatement | Self::X509 => "vouched",
        }
    }
}

/// A client whose documents and signatures were verified: the unit of the cache. It is a function of the client reference, the
/// dossier, the rules and the time of resolution, never of who asked for what.
#[derive(Debug)]
pub struct Resolved {
    pub(super) id: Box<str>,
    pub(super) method: Method,
    pub(super) anchor: Arc<Anchor>,
    /// The `web` anchor of the document, when a statement's anchor is the one that vouches.
    pub(super) beside: Option<Arc<Anchor>>,
    pub(super) class: Box<str>,
    pub(super) owner: Option<Box<str>>,
    pub(super) purpose: Option<Box<str>>,
    pub(super) environment: Option<Box<str>>,
    pub(super) metadata: ClientMetadata,
    pub(super) shown: Shown,
    pub(super) tools: Option<Box<[Box<str>]>>,
    pub(super) statement: Option<StatementFacts>,
    /// Its ancestors, root first; empty when nobody delegated to it.
    pub(super) delegation: Box<[Link]>,
    pub(super) document: Option<Digest>,
    /// Digests of what it rests on, in the order in which it was looked at. Findings point into it.
    pub(super) path: Box<[Digest]>,
    pub(super) findings: Box<[Finding]>,
    pub(super) targets: Box<[Target]>,
    /// Where it is said whether it, or something that vouches for it, was revoked.
    pub(super) statuses: Box<[RevocationSource]>,
    pub(super) rules: Digest,
    pub(super) resolved_at: Timestamp,
    pub(super) valid_until: Timestamp,
    /// When the oldest document that it rests on was obtained; `resolved_at` when it rests on none that was fetched.
    pub(super) as_of: Timestamp,
    pub(super) first_seen: Timestamp,
    pub(super) fingerprint: Fingerprint,
    /// Names this resolution under these rules: two with one version are the same to every policy.
    pub(super) version: Digest,
    /// What differs from how the client looked before.
    pub(super) changed: Box<[&'static str]>,
}

/// The parts of an answer that are the same for each request about a client, as JSON: written once, when it is resolved.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) client: Box<RawValue>,
    pub(super) trust: Box<RawValue>,
    pub(super) handles: Box<RawValue>,
}

/// What of a verified statement matters after resolution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatementFacts {
    pub(super) digest: Digest,
    pub(super) signed_by: Digest,
    pub(super) expires: Timestamp,
}

impl Resolved {
    /// The client identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
    /// How it was resolved.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }
    /// The anchor that vouches.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }
    /// The client class.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }
    /// Who answers for it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }
    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Option<&str> {
        self.purpose.as_deref()
    }
    /// Where it belongs.
    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }
    /// The `web` anchor of its document, when a statement's anchor is the one that vouches.
    #[must_use]
    pub fn beside(&self) -> Option<&Anchor> {
        self.beside.as_deref()
    }
    /// Its verified metadata.
    #[must_use]
    pub const fn metadata(&self) -> &ClientMetadata {
        &self.metadata
    }
    /// Digest of its metadata document's bytes, if it was resolved from one.
    #[must_use]
    pub const fn document(&self) -> Option<&Digest> {
        self.document.as_ref()
    }
    /// Digest of the statement, if one vouches.
    #[must_use]
    pub fn statement_digest(&self) -> Option<&Digest> {
        self.statement.as_ref().map(|statement| &statement.digest)
    }
    /// Thumbprint of the key that signed the statement.
    #[must_use]
    pub fn signed_by(&self) -> Option<&Digest> {
        self.statement.as_ref().map(|statement| &statement.signed_by)
    }
    /// How many clients stand between it and the anchor: 0 for one that the anchor itself vouches for.
    #[must_use]
    pub fn depth(&self) -> u8 {
        u8::try_from(self.delegation.len()).unwrap_or(u8::MAX)
    }
    /// The clients that vouched, each for the next, root first; its own parent is the last.
    #[must_use]
    pub fn parents(&self) -> &[Link] {
        &self.delegation
    }
    /// Where it is said whether it, or something that vouches for it, was revoked.
    #[must_use]
    pub fn statuses(&self) -> &[RevocationSource] {
        &self.statuses
    }
    /// When it was resolved.
    #[must_use]
    pub const fn resolved_at(&self) -> Timestamp {
        self.resolved_at
    }
    /// Until when it may be used again: the earliest end of anything it rests on.
    #[must_use]
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
    /// The rules it was resolved under.
    #[must_use]
    pub const fn rules(&self) -> Digest {
        self.rules
    }
    /// What differs from how it looked before, by the names of [`super::history::MEMBERS`].
    #[must_use]
    pub fn changed(&self) -> &[&'static str] {
        &self.changed
    }
    /// What the next resolution should know about this one.
    #[must_use]
    pub const fn known(&self) -> Known {
        Known { first_seen: self.first_seen, fingerprint: self.fingerprint }
    }
    /// Whether the documents are too old for what a policy demands.
    pub(super) fn is_stale(&self, freshness: Option<std::time::Duration>, at: Timestamp) -> bool {
        freshness.is_some_and(|age| at.since(self.as_of) > age)
    }
}

/// The verdict. Three outcomes, not two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Allowed, for what the grant says.
    Allow(Box<Allowed>),
    /// Denied.
    Deny(Refusal),
    /// Could not tell. Never lets anyone in; may be retried.
    Unresolved(Refusal),
}

/// What an allow covers. It cannot be made without proof of the revocation check and of the policy's permit, and both are
/// only made by those stages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allowed {
    grant: Grant,
    standing: Standing,
    permit: Permit,
    relieved: Option<Relieved>,
    not_after: Timestamp,
    revalidate_at: Timestamp,
}

impl Allowed {
    pub(super) fn new(
        grant: Grant,
        standing: Standing,
        permit: Permit,
        relieved: Option<Relieved>,
        client: &Resolved,
        at: Timestamp,
    ) -> Self {
        let mut not_after = at.plus(client.anchor.vouches.max_lifetime).min(client.anchor.approval.until);
        if let Some(beside) = &client.beside {
            not_after = not_after.min(beside.approval.until);
        }
        if let Some(statement) = &client.statement {
            not_after = not_after.min(statement.expires);
        }
        if let Some(longest) = permit.longest() {
            not_after = not_after.min(at.plus(longest));
        }
        if let Some(relieved) = &relieved {
            not_after = not_after.min(relieved.until());
        }
        let mut revalidate_at = client.valid_until.max(at).min(not_after);
        // What needs a fresh look must be asked about again before it is used after that.
        if let Some(age) = permit.freshness() {
            revalidate_at = revalidate_at.min(client.as_of.plus(age)).max(at);
        }
        Self { grant, standing, permit, relieved, not_after, revalidate_at }
    }

    /// What it may do.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }
    /// How revocation stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }
    /// Which policies permit, and under which obligations.
    #[must_use]
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }
    /// The override that it rests on, if it needs one.
    #[must_use]
    pub const fn relieved(&self) -> Option<&Relieved> {
        self.relieved.as_ref()
    }
    /// The end of the grant.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
    /// When to ask again.
    #[must_use]
    pub const fn revalidate_at(&self) -> Timestamp {
        self.revalidate_at
    }
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision {
    pub(super) at: Timestamp,
    pub(super) verdict: Verdict,
    pub(super) client: Option<Arc<Resolved>>,
    /// The identifier that the request named, for decisions that end before resolution.
    pub(super) named_id: Option<Box<str>>,
    pub(super) path: Box<[Digest]>,
    pub(super) findings: Vec<Finding>,
    pub(super) rules: Digest,
    pub(super) kill_sequence: u64,
    pub(super) feed: Feed,
    /// What each of the client's status lists said, in their order.
    pub(super) looked: Box<[Looked]>,
    /// Whether the request asked for every finding of an allow too.
    pub(super) explain: bool,
}

impl Decision {
    /// The time that it was decided for.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }
    /// What is allowed, if it is.
    #[must_use]
    pub fn allowed(&self) -> Option<&Allowed> {
        if let Verdict::Allow(allowed) = &self.verdict { Some(allowed) } else { None }
    }
    /// Why it is not allowed, if it is not.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match &self.verdict {
            Verdict::Allow(_) => None,
            Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => Some(refusal),
        }
    }
    /// The policy that denies the client and wants it suspended, if one does.
    #[must_use]
    pub fn suspends(&self) -> Option<&str> {
        self.refusal()?.policy.as_ref()?.suspends.as_deref()
    }
    /// The client, if it could be resolved.
    #[must_use]
    pub const fn client(&self) -> Option<&Arc<Resolved>> {
        self.client.as_ref()
    }
    /// The client identifier, resolved or as named.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(|client| &*client.id).or(self.named_id.as_deref())
    }
    /// Everything that was checked.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.client.iter().flat_map(|client| client.findings.iter()).chain(&self.findings)
    }
    /// What an answer lists: everything, for a denial or when asked to explain; for an allow, what did not hold and what was checked
    /// for this request. The rest is the same for each request about the client, and `explain` shows it.
    pub fn shown_findings(&self) -> impl Iterator<Item = &Finding> {
        let all = self.explain || !matches!(self.verdict, Verdict::Allow(_));
        let resolution = self.client.iter().flat_map(|client| client.findings.iter());
        resolution.filter(move |finding| all || !finding.holds).chain(&self.findings)
    }
    /// The same decision with every finding shown.
    #[must_use]
    pub fn explained(&self) -> Self {
        Self { explain: true, ..self.clone() }
    }
    /// What it rests on.
    #[must_use]
    pub fn path(&self) -> &[Digest] {
        self.client.as_ref().map_or(&self.path, |client| &client.path)
    }
    /// The rules it was decided under.
    #[must_use]
    pub const fn rules(&self) -> Digest {
        self.rules
    }
    /// The last kill order that was in force.
    #[must_use]
    pub const fn kill_sequence(&self) -> u64 {
        self.kill_sequence
    }
    /// What was known of orders after it.
    #[must_use]
    pub const fn feed(&self) -> Feed {
        self.feed
    }
    /// What each of [`Resolved::statuses`] said.
    #[must_use]
    pub fn looked(&self) -> &[Looked] {
        &self.looked
    }
    /// The first reason in stage order; `ok` for an allow.
    #[must_use]
    pub const fn code(&self) -> Code {
        match &self.verdict {
            Verdict::Allow(_) => Code::Ok,
            Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => refusal.code,
        }
    }
    /// The override order that it rests on.
    #[must_use]
    pub fn overridden(&self) -> Option<u64> {
        match &self.verdict {
            Verdict::Allow(allowed) => allowed.relieved().map(|relieved| relieved.order().sequence()),
            Verdict::Deny(_) | Verdict::Unresolved(_) => None,
        }
    }
    /// The code that is answered: [`Self::code`], or the one that a policy gives for `policy.denied`.
    #[must_use]
    pub fn code_name(&self) -> &str {
        match &self.verdict {
            Verdict::Allow(_) => Code::Ok.name(),
            Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => refusal.code_name(),
        }
    }
    /// `allow`, `deny` or `unresolved`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match &self.verdict {
            Verdict::Allow(_) => "allow",
            Verdict::Deny(_) => "deny",
            Verdict::Unresolved(_) => "unresolved",
        }
    }
    /// The reason in one sentence; empty for an allow.
    #[must_use]
    pub fn detail(&self) -> &str {
        match &self.verdict {
            Verdict::Allow(_) => "",
            Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => &refusal.detail,
        }
    }
}
