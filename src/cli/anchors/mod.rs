//! `anchors list | check | keygen | sign`

use std::time::Duration;

use clap::Subcommand;

use countersign::judge::anchors::{Anchor, AnchorKind, KeySource, Pattern};
use countersign::values::Timestamp;

use super::Outcome;
use super::args::spoken;
use super::context::Context;
use super::failure::Failure;
use super::paint::Mark;

mod check;
mod keygen;
mod list;
mod sign;

/// An approval that ends within this is worth a warning: renewing one takes people.
pub(crate) const ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// List, check and make trust anchors; sign statements.
#[derive(Subcommand)]
pub(crate) enum Anchors {
    /// One line for each anchor: what it may vouch for, until when
    List(list::List),
    /// Check each file, and say what each may vouch for and until when
    Check(check::Check),
    /// Make a key for an issuer of statements
    Keygen(keygen::Keygen),
    /// Sign a software statement about a client
    Sign(Box<sign::Sign>),
}

impl Anchors {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::List(list) => list.run(context),
            Self::Check(check) => check.run(context),
            Self::Keygen(keygen) => keygen.run(context),
            Self::Sign(sign) => sign.run(context),
        }
    }
}

pub(crate) const fn kind(anchor: &Anchor) -> &'static str {
    match anchor.kind {
        AnchorKind::Web { .. } => "web",
        AnchorKind::StatementIssuer { .. } => "statement-issuer",
        AnchorKind::X509(_) => "x509",
    }
}

/// How an approval stands, and how to say it: `until 2027-05-01 (160 days left)`.
pub(crate) fn standing(anchor: &Anchor, at: Timestamp) -> (Mark, String) {
    let approval = &anchor.approval;
    // `until` is the first moment that is not covered; people think of the last day that is.
    let last = date(approval.until.minus(Duration::from_millis(1)));
    if at < approval.on {
        return (Mark::Warn, format!("begins {}", date(approval.on)));
    }
    if at >= approval.until {
        return (Mark::Bad, format!("ended {last}"));
    }
    let left = approval.until.since(at);
    let left_text = match left.as_secs() / 86_400 {
        0 => format!("{} left", spoken(left)),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    };
    (if left <= ENDS_SOON { Mark::Warn } else { Mark::Good }, format!("until {last} ({left_text})"))
}

/// The day of a moment, in UTC.
pub(crate) fn date(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

/// `files.*, search`, or `-` for nothing.
fn texts(texts: &[String]) -> String {
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

fn patterns(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(Pattern::as_written).collect()
}

/// What an anchor covers: identifiers and origins, or an issuer and its keys.
fn covers(anchor: &Anchor) -> Vec<(&'static str, String)> {
    match &anchor.kind {
        AnchorKind::Web { client_ids, origins } => {
            let mut rows: Vec<_> = client_ids.iter().map(|id| ("client", id.clone())).collect();
            rows.extend(origins.iter().map(|origin| ("origin", origin.as_written())));
            rows
        }
        AnchorKind::StatementIssuer { issuer, keys, algorithms } => {
            let keys = match keys {
                KeySource::Held(set) => {
                    let kids: Vec<String> =
                        set.iter().map(|key| key.kid().map_or_else(|| key.thumbprint().base64url(), str::to_owned)).collect();
                    format!("{} held: {}", kids.len(), kids.join(", "))
                }
                KeySource::Published(url) => format!("at {}", url.as_str()),
            };
            let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
            vec![("issuer", issuer.clone()), ("keys", keys), ("algorithms", names.join(", "))]
        }
        AnchorKind::X509(community) => {
            let names: Vec<&str> = community.algorithms.iter().map(|algorithm| algorithm.name()).collect();
            let mut rows: Vec<_> = community.community.iter().map(|name| ("community", name.clone())).collect();
            rows.extend(community.roots.digests().map(|root| ("root", root.to_string())));
            rows.push(("algorithms", names.join(", ")));
            rows.extend(community.crls.iter().map(|list| ("crl", list.to_string())));
            rows.extend(community.crl_hosts.iter().map(|host| ("crl host", host.clone())));
            rows
        }
    }
}

/// How far its clients may delegate. What a `web` anchor covers has no statement to delegate with.
fn delegation(anchor: &Anchor) -> Option<String> {
    anchor.issuer()?;
    Some(match anchor.vouches.max_delegation_depth {
        0 => "none".to_owned(),
        1 => "1 level".to_owned(),
        levels => format!("{levels} levels"),
    })
}

/// Where requests may come from; empty when that is not limited.
fn sources(anchor: &Anchor) -> Vec<(&'static str, Vec<String>)> {
    let source = &anchor.source;
    let networks = source.networks.iter().map(ToString::to_string).collect();
    let all = [("regions", patterns(&source.regions)), ("gateways", patterns(&source.gateways)), ("networks", networks)];
    all.into_iter().filter(|(_, values): &(_, Vec<String>)| !values.is_empty()).collect()
}

/// An anchor as JSON.
fn json(anchor: &Anchor, at: Timestamp) -> serde_json::Value {
    let (mark, _) = standing(anchor, at);
    let state = match mark {
        Mark::Bad => "ended",
        Mark::Warn if at < anchor.approval.on => "not_begun",
        Mark::Warn => "ends_soon",
        Mark::Good | Mark::Skip => "in_force",
    };
    let kind_own = match &anchor.kind {
        AnchorKind::Web { client_ids, origins } => {
            let origins: Vec<String> = origins.iter().map(|origin| origin.as_written()).collect();
            serde_json::json!({ "client_ids": client_ids, "origins": origins })
        }
        AnchorKind::StatementIssuer { issuer, keys, algorithms } => {
            let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
            let (held, uri) = match keys {
                KeySource::Held(set) => (Some(set.iter().map(|key| key.thumbprint().base64url()).collect::<Vec<_>>()), None),
                KeySource::Published(url) => (None, Some(url.as_str().to_owned())),
            };
            serde_json::json!({ "issuer": issuer, "algorithms": names, "keys": held, "jwks_uri": uri })
        }
        AnchorKind::X509(community) => {
            let names: Vec<&str> = community.algorithms.iter().map(|algorithm| algorithm.name()).collect();
            let roots: Vec<String> = community.roots.digests().map(ToString::to_string).collect();
            serde_json::json!({
                "community": community.community, "roots": roots, "algorithms": names, "audiences": community.audiences,
                "crls": community.crls.iter().map(ToString::to_string).collect::<Vec<_>>(), "crl_hosts": community.crl_hosts,
            })
        }
    };
    let source: serde_json::Map<String, serde_json::Value> =
        sources(anchor).into_iter().map(|(name, values)| (name.to_owned(), values.into())).collect();
    serde_json::json!({
        "id": anchor.id,
        "kind": kind(anchor),
        "covers": kind_own,
        "approval": {
            "by": anchor.approval.by, "ticket": anchor.approval.ticket, "state": state,
            "on": anchor.approval.on, "until": anchor.approval.until,
            "days_left": anchor.approval.until.since(at).as_secs() / 86_400,
        },
        "vouches": {
            "classes": anchor.vouches.classes,
            "scopes": patterns(&anchor.vouches.scopes),
            "tools": patterns(&anchor.vouches.tools),
            "max_lifetime_s": anchor.vouches.max_lifetime.as_secs(),
            "max_delegation_depth": anchor.vouches.max_delegation_depth,
        },
        "source": source,
    })
}
