//! What our annotations say about a policy. Cedar carries annotations and checks none of them, so a misspelt `@ttl` would mean
//! nothing without a word; here an unknown or misplaced one is a load error.

use std::time::Duration;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy};

use super::obligation::Obligation;
use crate::values::time::duration;

/// Longest `@id` in bytes: it stands in every answer that it permits.
const ID_MAX: usize = 64;
/// Longest `@advice` in bytes: one or two sentences.
const ADVICE_MAX: usize = 512;
/// Longest `@ttl`. A grant that lives a year is a registration.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Codes that the verifier gives itself and no policy may claim.
const RESERVED: [&str; 3] = ["policy.denied", "policy.error", "policy.stale_resolution"];

/// A policy's name, and what it adds to an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `@id`: unique over all files.
    pub id: Box<str>,
    /// Whether it permits.
    pub permits: bool,
    /// `@code` of a forbid: `policy.<reason>`.
    pub code: Option<Box<str>>,
    /// `@advice` of a forbid: what to do about it.
    pub advice: Option<Box<str>>,
    /// `@ttl` of a permit: the longest life of what it permits.
    pub ttl: Option<Duration>,
    /// `@obligation` of a permit.
    pub obligations: Vec<Obligation>,
    /// `@suspend` of a forbid of `admit`: whom it denies is suspended until somebody lifts that.
    pub suspends: bool,
    /// `@mode("log_only")`: evaluated and reported, and without any effect.
    pub log_only: bool,
    /// Its text, annotations included.
    pub text: Box<str>,
    /// The file that it is in.
    pub file: Box<str>,
    /// The line that it begins on, from 1.
    pub line: usize,
}

impl Rule {
    /// Reads the annotations of a policy.
    ///
    /// # Errors
    /// Names the annotation and the rule.
    pub fn of(policy: &Policy, file: &str, line: usize) -> Result<Self, String> {
        let permits = policy.effect() == Effect::Permit;
        let mut rule = Self {
            id: Box::default(),
            permits,
            code: None,
            advice: None,
            ttl: None,
            obligations: Vec::new(),
            suspends: false,
            log_only: false,
            text: policy.to_cedar().unwrap_or_default().trim().into(),
            file: file.into(),
            line,
        };
        for (name, value) in policy.annotations() {
            let only = |on_permit: bool| match (permits, on_permit) {
                (true, false) => Err(format!("@{name} belongs on a `forbid`")),
                (false, true) => Err(format!("@{name} belongs on a `permit`")),
                _ => Ok(()),
            };
            match name {
                "id" => rule.id = id(value)?,
                "code" => {
                    only(false)?;
                    rule.code = Some(code(value)?);
                }
                "advice" => {
                    only(false)?;
                    rule.advice = Some(advice(value)?);
                }
                "ttl" => {
                    only(true)?;
                    rule.ttl = Some(ttl(value)?);
                }
                "obligation" => {
                    only(true)?;
                    rule.obligations = Obligation::parse_list(value)?;
                }
                "suspend" => {
                    only(false)?;
                    rule.suspends = suspends(policy, value)?;
                }
                "mode" if value == "log_only" => rule.log_only = true,
                "mode" => return Err(format!("@mode({value:?}) is unknown; `log_only` is the only mode")),
                other => {
                    return Err(format!(
                        "@{other} is unknown; known are @id, @code, @advice, @ttl, @obligation, @suspend, @mode"
                    ));
                }
            }
        }
        if rule.id.is_empty() {
            return Err("it has no @id; answers and evidence name policies by it".into());
        }
        Ok(rule)
    }
}

fn id(text: &str) -> Result<Box<str>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    if text.is_empty() || text.len() > ID_MAX || !text.bytes().all(plain) {
        return Err(format!("@id({text:?}) must be 1 to {ID_MAX} letters, digits, `.`, `_`, `/` or `-`"));
    }
    Ok(text.into())
}

fn code(text: &str) -> Result<Box<str>, String> {
    let reason = text.strip_prefix("policy.").unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !reason.starts_with(|c: char| c.is_ascii_lowercase()) || reason.len() > 48 || !reason.bytes().all(plain) {
        return Err(format!("@code({text:?}) must be `policy.` and a reason in lower snake case"));
    }
    if RESERVED.contains(&text) {
        return Err(format!("@code({text:?}) is the verifier's own; choose another reason"));
    }
    Ok(text.into())
}

fn advice(text: &str) -> Result<Box<str>, String> {
    if text.trim().is_empty() || text.len() > ADVICE_MAX || text.chars().any(char::is_control) {
        return Err(format!("@advice must have 1 to {ADVICE_MAX} bytes and no control characters"));
    }
    Ok(text.into())
}

/// A suspension lasts, so it must be about the client, never about what a caller asks for or when: whoever can ask could have any client
/// suspended by asking wrongly.
fn suspends(policy: &Policy, value: &str) -> Result<bool, String> {
    let admits = |action: &EntityUid| action.id().unescaped() == "admit";
    let only_admit = match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(action) => admits(&action),
        ActionConstraint::In(actions) => !actions.is_empty() && actions.iter().all(admits),
    };
    let text = policy.to_cedar().unwrap_or_default();
    let named = |word: &str| text.split(|c: char| !c.is_alphanumeric()).filter(|other| *other == word).count();
    // The head names the resource once.
    let looks_at_request = named("context") > 0 || named("resource") > 1;
    match (value.is_empty(), only_admit, looks_at_request) {
        (true, true, false) => Ok(true),
        (false, ..) => Err("@suspend takes no argument".into()),
        (_, false, _) => Err("@suspend belongs on a forbid of `action == Action::\"admit\"`: it is about the client".into()),
        (.., true) => Err("@suspend: the policy looks at the request; whoever can ask could have any client suspended".into()),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let span = duration(text).map_err(|rule| format!("@ttl: {rule}"))?;
    if span.is_zero() || span > TTL_MAX {
        return Err(format!("@ttl({text:?}) must be more than zero and at most 366 days"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(annotations: &str, effect: &str, expect: Result<(), &str>) {
        let text = format!("{annotations} {effect} (principal, action, resource);");
        let policy: Policy = text.parse().unwrap();
        match (Rule::of(&policy, "x.cedar", 1), expect) {
            (Ok(_), Ok(())) => {}
            (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[track_caller]
    fn suspension(annotation: &str, rest: &str, expect: Result<(), &str>) {
        let policy: Policy = format!("@id(\"a\") {annotation} forbid {rest};").parse().unwrap();
        match (Rule::of(&policy, "x.cedar", 1), expect) {
            (Ok(rule), Ok(())) => assert!(rule.suspends),
            (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
            (got, _) => panic!("{rest}: {got:?}"),
        }
    }

    #[test]
    fn what_may_suspend() {
        let admit = r#"(principal, action == Action::"admit", resource)"#;
        let changed = format!(r#"{admit} when {{ principal.changed.contains("keys") }}"#);
        suspension("@suspend", &changed, Ok(()));
        suspension("@suspend", admit, Ok(()));
        suspension("@suspend", r#"(principal, action in [Action::"admit"], resource)"#, Ok(()));
        suspension("@suspend(\"x\")", &changed, Err("no argument"));
        suspension("@suspend", "(principal, action, resource)", Err("about the client"));
        suspension(
            "@suspend",
            r#"(principal, action in [Action::"admit", Action::"callTool"], resource)"#,
            Err("about the client"),
        );
        suspension("@suspend", r#"(principal, action == Action::"callTool", resource)"#, Err("about the client"));
        suspension("@suspend", &format!(r#"{admit} when {{ context.redirect == "none" }}"#), Err("looks at the request"));
        suspension("@suspend", r#"(principal, action == Action::"admit", resource == Resource::"x")"#, Ok(()));
    }

    #[test]
    fn annotations() {
        check(r#"@id("a/b-1.x")"#, "permit", Ok(()));
        check("", "permit", Err("no @id"));
        check("@id", "permit", Err("@id"));
        check(r#"@id("a b")"#, "permit", Err("@id"));
        check(&format!("@id({:?})", "x".repeat(64)), "permit", Ok(()));
        check(&format!("@id({:?})", "x".repeat(65)), "permit", Err("@id"));
        check(r#"@id("a") @tlt("15m")"#, "permit", Err("@tlt is unknown"));
        check(r#"@id("a") @ttl("15m")"#, "permit", Ok(()));
        check(r#"@id("a") @ttl("15")"#, "permit", Err("not a duration"));
        check(r#"@id("a") @ttl("0s")"#, "permit", Err("more than zero"));
        check(r#"@id("a") @ttl("366d")"#, "permit", Ok(()));
        check(r#"@id("a") @ttl("367d")"#, "permit", Err("366 days"));
        check(r#"@id("a") @ttl("15m")"#, "forbid", Err("belongs on a `permit`"));
        check(r#"@id("a") @obligation("require_pkce")"#, "forbid", Err("belongs on a `permit`"));
        check(r#"@id("a") @obligation("requite_pkce")"#, "permit", Err("unknown"));
        check(r#"@id("a") @code("policy.risk") @advice("Ask.")"#, "forbid", Ok(()));
        check(r#"@id("a") @code("policy.risk")"#, "permit", Err("belongs on a `forbid`"));
        check(r#"@id("a") @code("RV-1")"#, "forbid", Err("lower snake"));
        check(r#"@id("a") @code("policy.")"#, "forbid", Err("lower snake"));
        check(r#"@id("a") @code("policy.denied")"#, "forbid", Err("verifier's own"));
        check(&format!(r#"@id("a") @advice({:?})"#, "x".repeat(513)), "forbid", Err("@advice"));
        check(r#"@id("a") @suspend"#, "permit", Err("belongs on a `forbid`"));
        check(r#"@id("a") @suspend"#, "forbid", Err("about the client"));
        check(r#"@id("a") @mode("log_only")"#, "forbid", Ok(()));
        check(r#"@id("a") @mode("enforce")"#, "forbid", Err("@mode"));
    }
}
