//! Two decisions on the same question, compared.

use serde::Serialize;

use crate::judge::{Decision, Verdict};

/// How two decisions differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// `allow→deny`, `deny→allow` and the like; `code`; `grant`.
    pub what: String,
    /// The old side.
    pub old: Side,
    /// The new side.
    pub new: Side,
    /// What of a grant differs: `scopes`, `tools`, `obligations`, `life`, `override`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<&'static str>,
}

/// One side.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Side {
    /// The code.
    pub code: String,
    /// The policies that decide.
    pub policies: Vec<Box<str>>,
}

impl Change {
    /// What is not told apart any more.
    #[must_use]
    pub fn others() -> Self {
        Self { what: "others".into(), old: Side::default(), new: Side::default(), differs: Vec::new() }
    }
}

/// What differs; `None` when the caller would have seen the same.
#[must_use]
pub fn compare(old: &Decision, new: &Decision) -> Option<Change> {
    let change = |what: String, differs: Vec<&'static str>| Change { what, old: side(old), new: side(new), differs };
    if old.word() != new.word() {
        return Some(change(format!("{}→{}", old.word(), new.word()), Vec::new()));
    }
    if old.code_name() != new.code_name() {
        return Some(change("code".into(), Vec::new()));
    }
    let (Some(before), Some(after)) = (old.allowed(), new.allowed()) else { return None };
    let differs = [
        ("scopes", before.grant().scopes() != after.grant().scopes()),
        ("tools", before.grant().tools() != after.grant().tools()),
        ("obligations", obliged(before.permit().obligations()) != obliged(after.permit().obligations())),
        ("life", before.not_after() != after.not_after()),
        ("override", old.overridden() != new.overridden()),
    ];
    let differs: Vec<&'static str> = differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    (!differs.is_empty()).then(|| change("grant".into(), differs))
}

/// Obligations without the policies that demand them: those may be called otherwise now.
fn obliged(all: &[crate::judge::policy::Obliged]) -> Vec<&crate::judge::policy::Obligation> {
    let mut all: Vec<_> = all.iter().map(|obliged| &obliged.what).collect();
    all.sort();
    all
}

fn side(decision: &Decision) -> Side {
    let policies = match decision.verdict() {
        Verdict::Allow(allowed) => allowed.permit().policies().to_vec(),
        Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => {
            refusal.policy.as_ref().map(|denied| denied.policies.to_vec()).unwrap_or_default()
        }
    };
    Side { code: decision.code_name().to_owned(), policies }
}
