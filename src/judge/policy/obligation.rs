//! Obligations: what must be done for an allow to hold. Typed, so that a misspelt one is found when the policy is loaded and not
//! when a gateway ignores it. `docs/policies.md` explains each.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap as _;

use crate::values::time::duration;

/// Most obligations of one policy; more are not kept by anyone.
const OBLIGATIONS_MAX: usize = 8;
/// Longest argument in bytes: an address, or an authentication context.
const ARGUMENT_MAX: usize = 128;

/// Something that must be done.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obligation {
    /// The code flow uses PKCE with S256 (RFC 9700 section 2.1.1).
    RequirePkce,
    /// The access token is bound to a key of the client's: DPoP (RFC 9449) or mutual TLS (RFC 8705).
    RequireProof,
    /// The client's documents were fetched, or its origin confirmed them, at most this long before the decision. Kept by the verifier
    /// itself: an older resolution is made again before it answers.
    FreshResolution(Duration),
    /// The user authenticates again (RFC 9470); the argument is the `acr` to ask for.
    StepUp(Option<String>),
    /// Somebody is told of this use.
    Notify(String),
    /// What is issued on this decision lives at most this long. The verifier shortens `lifetime.not_after` to it.
    MaxLifetime(Duration),
}

impl Obligation {
    /// The name in policies and answers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RequirePkce => "require_pkce",
            Self::RequireProof => "require_proof",
            Self::FreshResolution(_) => "fresh_resolution",
            Self::StepUp(_) => "step_up",
            Self::Notify(_) => "notify",
            Self::MaxLifetime(_) => "max_lifetime",
        }
    }

    /// Reads the annotation `@obligation("require_pkce, max_lifetime:15m")`.
    ///
    /// # Errors
    /// Names the obligation and the rule.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut list = Vec::new();
        for entry in text.split(',') {
            let obligation = Self::parse(entry.trim())?;
            if list.iter().any(|other: &Self| other.name() == obligation.name()) {
                return Err(format!("@obligation names `{}` twice", obligation.name()));
            }
            list.push(obligation);
        }
        if list.len() > OBLIGATIONS_MAX {
            return Err(format!("@obligation has more than {OBLIGATIONS_MAX} entries"));
        }
        Ok(list)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument.trim())));
        let argument = argument.filter(|argument| !argument.is_empty());
        if argument.is_some_and(|argument| argument.len() > ARGUMENT_MAX || argument.chars().any(char::is_control)) {
            return Err(format!(
                "@obligation `{name}`: the argument is longer than {ARGUMENT_MAX} bytes or has control characters"
            ));
        }
        let span = |text: &str| {
            let span = duration(text).map_err(|rule| format!("@obligation `{name}`: {rule}"))?;
            if span.is_zero() { Err(format!("@obligation `{name}`: it must be longer than zero")) } else { Ok(span) }
        };
        match (name, argument) {
            ("require_pkce", None) => Ok(Self::RequirePkce),
            ("require_proof", None) => Ok(Self::RequireProof),
            ("fresh_resolution", Some(text)) => Ok(Self::FreshResolution(span(text)?)),
            ("step_up", acr) => Ok(Self::StepUp(acr.map(str::to_owned))),
            ("notify", Some(who)) => Ok(Self::Notify(who.to_owned())),
            ("max_lifetime", Some(text)) => Ok(Self::MaxLifetime(span(text)?)),
            ("require_pkce" | "require_proof", Some(_)) => Err(format!("@obligation `{name}` takes no argument")),
            ("fresh_resolution" | "max_lifetime", None) => Err(format!("@obligation `{name}` needs a duration: `{name}:15m`")),
            ("notify", None) => Err("@obligation `notify` needs somebody to tell: `notify:secops@acme.example`".into()),
            _ => Err(format!(
                "@obligation `{name}` is unknown; known are require_pkce, require_proof, fresh_resolution, step_up, notify, max_lifetime"
            )),
        }
    }
}

/// An obligation as an answer shows it: which policy demands it, and its argument by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Obliged {
    /// The policy that demands it.
    pub policy: Box<str>,
    /// What is to be done.
    pub what: Obligation,
}

impl Serialize for Obliged {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.policy)?;
        map.serialize_entry("type", self.what.name())?;
        match &self.what {
            Obligation::FreshResolution(span) => map.serialize_entry("max_age_s", &span.as_secs())?,
            Obligation::MaxLifetime(span) => map.serialize_entry("max_lifetime_s", &span.as_secs())?,
            Obligation::StepUp(Some(acr)) => map.serialize_entry("acr", acr)?,
            Obligation::Notify(who) => map.serialize_entry("to", who)?,
            Obligation::RequirePkce | Obligation::RequireProof | Obligation::StepUp(None) => {}
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let got = Obligation::parse_list(text).map(|list| {
            let shown = list.into_iter().map(|what| serde_json::to_string(&Obliged { policy: "p".into(), what }).unwrap());
            shown.collect::<Vec<_>>().join(" ").replace(r#""id":"p","type":"#, "")
        });
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn obligations() {
        check("require_pkce", Ok(r#"{"require_pkce"}"#));
        check("require_proof, step_up", Ok(r#"{"require_proof"} {"step_up"}"#));
        check("step_up:urn:mfa", Ok(r#"{"step_up","acr":"urn:mfa"}"#));
        check(
            "fresh_resolution:30s,max_lifetime: 15m",
            Ok(r#"{"fresh_resolution","max_age_s":30} {"max_lifetime","max_lifetime_s":900}"#),
        );
        check("notify:secops@acme.example", Ok(r#"{"notify","to":"secops@acme.example"}"#));
        check("require_pkec", Err("`require_pkec` is unknown"));
        check("", Err("unknown"));
        check("require_pkce,", Err("unknown"));
        check("require_pkce,require_pkce", Err("twice"));
        check("require_pkce:S256", Err("takes no argument"));
        check("fresh_resolution", Err("needs a duration"));
        check("fresh_resolution:soon", Err("not a duration"));
        check("max_lifetime:0s", Err("longer than zero"));
        check("notify", Err("somebody to tell"));
        check(&format!("notify:{}", "x".repeat(129)), Err("longer than 128"));
    }
}
