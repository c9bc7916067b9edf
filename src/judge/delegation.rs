//! Delegation (CONTRACT section 7): a client vouches for one that it spawned, with a key of its own, and hands on no more than it
//! has itself (R7).
//!
//! A chain is read down to its root before anything is verified, at most [`DEPTH_MAX`] parents deep. Then it is verified from the
//! root up: each parent by the rules for every statement, so that its keys, its end and its limits are verified facts when its
//! child is held to them. What goes beyond the parent is refused, not reduced: whoever signed it meant it.

use std::sync::Arc;

use crate::values::json::{Json, Object};
use crate::values::{Code, Digest, Timestamp};

use super::anchors::Anchor;
use super::case::Case;
use super::decision::Resolved;
use super::finding::{Check, Refusal};
use super::jose::{KeySet, UnverifiedJws};
use super::metadata::Role;
use super::revocation::{Target, TargetKind, targets_of};
use super::statement::VerifiedStatement;

/// Most parents above a statement (CONTRACT section 7). It also bounds the signatures that one request can make us verify.
pub const DEPTH_MAX: u8 = 4;

/// The class of a trusted launcher: it vouches for the clients that it launches and never acts itself (R5).
pub const BROKER: &str = "broker";

/// An ancestor of a client: one that vouched for the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    client: Box<str>,
    statement: Digest,
    class: Box<str>,
    expires: Timestamp,
    signed_by: Digest,
    keys: Box<[Digest]>,
}

impl Link {
    /// Its client identifier.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }
    /// Digest of its statement.
    #[must_use]
    pub const fn statement(&self) -> &Digest {
        &self.statement
    }
    /// Its class.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }
    /// The end of its statement.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
    /// Thumbprint of the key that signed its statement.
    #[must_use]
    pub const fn signed_by(&self) -> &Digest {
        &self.signed_by
    }
    /// Everything that a kill order can name to stop it, and with it whoever rests on it. It is also the issuer of the next.
    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        let keys = std::iter::once(&self.signed_by).chain(&self.keys);
        let keys = keys.map(|key| Target::new(TargetKind::Key, &key.base64url()));
        let statement = Target::new(TargetKind::Statement, &self.statement.to_string());
        let issuer = Target::new(TargetKind::Issuer, &self.client);
        targets_of(&self.client).into_iter().chain([statement, issuer]).chain(keys)
    }
}

/// R5: whoever vouches may not act, neither under its own name nor as a client that holds its key.
///
/// # Errors
/// `delegation.broker_acts`.
pub fn check_may_act(client: &Resolved) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Code::DelegationBrokerActs, Check::DelegationBroker, detail));
    if &*client.class == BROKER {
        return refuse(format!("its class is `{BROKER}`: it may launch clients and never acts itself"));
    }
    let own = client.metadata.keys();
    let one = client.delegation.iter().find(|link| link.class() == BROKER && link.keys.iter().any(|key| own.contains(key)));
    match one {
        Some(broker) => refuse(format!("it has a key of {:?}, the broker that launched it: the two are one", broker.client())),
        None => Ok(()),
    }
}

/// Whether two identifiers name one party. A trailing slash makes no second one.
pub(super) fn same_party(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Splits a statement of a chain. `below`: how many statements of the chain rest on it.
pub(super) fn parse(jws: &str, below: u8) -> Result<UnverifiedJws<'_>, Refusal> {
    UnverifiedJws::parse(jws).map_err(|refusal| match refusal.code {
        Code::JoseMalformed if below > 0 => malformed(format!("`parent` is not a statement: {}", refusal.detail)),
        _ => refusal,
    })
}

/// The parent's statement, if a statement has one and may have one.
pub(super) fn parent_of<'a>(token: &'a UnverifiedJws<'_>, below: u8) -> Result<Option<&'a str>, Refusal> {
    let Some(parent) = token.claimed_parent() else { return Ok(None) };
    if below >= DEPTH_MAX {
        return Err(too_deep(format!("it has more than {DEPTH_MAX} ancestors")));
    }
    let text = parent.as_str().ok_or_else(|| malformed(format!("`parent` is {}, not a compact JWS", parent.kind())))?;
    Ok(Some(text))
}

/// Whether an anchor lets chains be as long as this one.
pub(super) fn check_depth(anchor: &Anchor, depth: u8) -> Result<(), Refusal> {
    match anchor.vouches.max_delegation_depth {
        limit if depth <= limit => Ok(()),
        0 => Err(not_allowed(format!("anchor {} lets no client delegate (`vouches.max_delegation_depth`)", anchor.id))),
        limit => Err(too_deep(format!(
            "it has {depth} ancestors, anchor {} allows {limit} (`vouches.max_delegation_depth`)",
            anchor.id
        ))),
    }
}

/// A verified statement whose subject may vouch for others.
pub(super) struct Parent {
    statement: VerifiedStatement,
    keys: KeySet,
}

impl Parent {
    /// `below`: how many statements of the chain rest on it.
    pub(super) fn of(case: &mut Case<'_>, statement: VerifiedStatement, below: u8) -> Result<Self, Refusal> {
        let who = short(&statement.subject);
        match statement.claims.delegation_depth {
            Some(0) => return Err(not_allowed(format!("{who:?} may not delegate: its `delegation_depth` is 0"))),
            Some(levels) if levels < u64::from(below) => {
                let detail = format!("{below} statements rest on {who:?}, its `delegation_depth` allows {levels}");
                return Err(too_deep(detail));
            }
            _ => {}
        }
        // An ancestor is held to the rules of a client that asks for itself.
        case.inspect(&statement.members, Role::Statement)?;
        let Some(set) = statement.members.get("jwks").and_then(Json::as_object) else {
            let why = if statement.members.has("jwks_uri") { "; `jwks_uri` is not followed for delegation" } else { "" };
            return Err(not_allowed(format!("the statement of {who:?} has no inline `jwks` to verify its child with{why}")));
        };
        let keys =
            KeySet::of(set).map_err(|error| not_allowed(format!("the `jwks` of {who:?} verifies no signature: {error}")))?;
        case.note(Check::DelegationAllowed, true, format!("{who:?} may delegate"));
        Ok(Self { statement, keys })
    }

    pub(super) const fn anchor(&self) -> &Arc<Anchor> {
        &self.statement.anchor
    }

    pub(super) fn subject(&self) -> &str {
        &self.statement.subject
    }

    pub(super) const fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// A child names its parent, character for character, as its issuer.
    pub(super) fn check_issuer(&self, case: &mut Case<'_>, issuer: Option<&str>) -> Result<(), Refusal> {
        if issuer == Some(self.subject()) {
            case.holds(Check::DelegationIssuer);
            return Ok(());
        }
        let issuer = issuer.map_or_else(|| "missing".to_owned(), |issuer| format!("{:?}", short(issuer)));
        let detail = format!("`iss` is {issuer}, the `sub` of its parent is {:?}", short(self.subject()));
        Err(Refusal::new(Code::DelegationIssuer, Check::DelegationIssuer, detail))
    }

    /// Holds a verified child to its parent, and fills in what the child leaves to it.
    pub(super) fn limit(self, case: &mut Case<'_>, mut child: VerifiedStatement) -> Result<VerifiedStatement, Refusal> {
        let parent = self.statement;
        check_loop(case, &parent, &child.subject)?;
        if child.facts.expires > parent.facts.expires {
            let detail = format!("it ends at {}, its parent at {}", child.facts.expires, parent.facts.expires);
            return Err(Refusal::new(Code::DelegationLifetime, Check::DelegationLifetime, detail));
        }
        case.holds(Check::DelegationLifetime);
        limit_scope(case, &parent, &mut child.members)?;
        limit_tools(case, &parent, &mut child)?;
        child.class = class(case, &parent, child.class)?;
        let (own, above) = (&mut child.claims, parent.claims);
        if let (Some(own), Some(above)) = (&own.owner, &above.owner)
            && own != above
        {
            let detail = format!("`owner` is {:?}, that of its parent is {:?}", short(own), short(above));
            case.note(Check::DelegationOwner, false, detail);
        }
        own.owner = own.owner.take().or(above.owner);
        own.purpose = own.purpose.take().or(above.purpose);
        own.environment = own.environment.take().or(above.environment);
        child.ancestors = parent.ancestors;
        child.ancestors.push(Link {
            client: parent.subject.into(),
            statement: parent.facts.digest,
            class: parent.class.unwrap_or_default().into(),
            expires: parent.facts.expires,
            signed_by: parent.facts.signed_by,
            keys: self.keys.iter().map(|key| *key.thumbprint()).collect(),
        });
        Ok(child)
    }
}

/// A client below itself would outlive its own limits. That a child is not its parent, `statement.self_vouched` says.
fn check_loop(case: &mut Case<'_>, parent: &VerifiedStatement, child: &str) -> Result<(), Refusal> {
    let above = parent.ancestors.iter().map(Link::client).chain(parent.anchor.issuer());
    if let Some(name) = above.into_iter().find(|name| same_party(name, child)) {
        let detail = format!("`sub` is {:?}, which vouches for it higher up", short(name));
        return Err(Refusal::new(Code::DelegationLoop, Check::DelegationNoLoop, detail));
    }
    case.holds(Check::DelegationNoLoop);
    Ok(())
}

fn limit_scope(case: &mut Case<'_>, parent: &VerifiedStatement, own: &mut Object) -> Result<(), Refusal> {
    let refuse = |detail: String| Refusal::new(Code::DelegationScope, Check::DelegationScope, detail);
    let above = parent.members.get("scope").and_then(Json::as_str);
    match (own.get("scope"), above) {
        (None, None) => {}
        (None, Some(above)) => own.set("scope", Json::String(above.to_owned())),
        (Some(Json::String(scope)), above) => {
            let has = |entry: &str| above.is_none_or(|above| above.split(' ').any(|a| a == entry));
            if let Some(first) = scope.split(' ').filter(|entry| !entry.is_empty()).find(|entry| !has(entry)) {
                return Err(refuse(format!("scope {:?} is more than its parent has", short(first))));
            }
        }
        (Some(other), _) => return Err(refuse(format!("`scope` is {}, not a string", other.kind()))),
    }
    case.holds(Check::DelegationScope);
    Ok(())
}

fn limit_tools(case: &mut Case<'_>, parent: &VerifiedStatement, child: &mut VerifiedStatement) -> Result<(), Refusal> {
    let (own, above) = (&mut child.claims.tools, &parent.claims.tools);
    if let (Some(own), Some(above)) = (&own, above)
        && let Some(first) = own.iter().find(|tool| !above.contains(tool))
    {
        let detail = format!("tool {:?} is more than its parent has", short(first));
        return Err(Refusal::new(Code::DelegationTool, Check::DelegationTools, detail));
    }
    *own = own.take().or_else(|| above.clone());
    case.holds(Check::DelegationTools);
    Ok(())
}

/// A child is of its parent's class; what a broker launches is of any class that the anchor vouches for but its own, so that no
/// launcher makes another.
fn class(case: &mut Case<'_>, parent: &VerifiedStatement, own: Option<String>) -> Result<Option<String>, Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Code::DelegationClass, Check::DelegationClass, detail));
    let above = parent.class.as_deref().unwrap_or_default();
    let class = own.unwrap_or_else(|| above.to_owned());
    match (above, class.as_str()) {
        (BROKER, BROKER) => {
            return refuse(format!("a `{BROKER}` launches clients of other classes: name one in `client_class`"));
        }
        (BROKER, _) => {}
        (above, own) if above == own => {}
        (above, own) => return refuse(format!("`client_class` is {:?}, that of its parent is {above:?}", short(own))),
    }
    case.holds(Check::DelegationClass);
    Ok(Some(class))
}

/// Enough of a text from a token for a sentence.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::DelegationMalformed, Check::DelegationParent, detail)
}

fn too_deep(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::DelegationTooDeep, Check::DelegationDepth, detail)
}

fn not_allowed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::DelegationNotAllowed, Check::DelegationAllowed, detail)
}
