//! Event types of RISC, CAEP and SSF, and what each does to whom it is about. `docs/revocation.md` has the table.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::values::json::{Json, Object};

use super::subject;
use super::{Meaning, SetError, SetRefusal, Transmitter, brief, text};

/// Longest reason in bytes: what an order has room for.
const REASON_MAX_BYTES: usize = 1024;

/// What an event does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Denies whom it is about.
    Kill,
    /// Denies whom it is about until it is lifted.
    Suspend,
    /// Takes back what the same transmitter ordered before.
    Lift,
}

/// An event type that is understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventKind {
    /// The name in the configuration: the last segment of the URI.
    pub name: &'static str,
    /// The URI.
    pub uri: &'static str,
    /// What it does, unless the configuration says otherwise; `None` for events about the stream itself.
    pub effect: Option<Effect>,
}

macro_rules! kinds {
    ($($prefix:literal $name:literal $effect:expr;)*) => {
        [$(EventKind { name: $name, uri: concat!("https://schemas.openid.net/secevent/", $prefix, "/event-type/", $name), effect: $effect },)*]
    };
}

/// Every event that is understood: OpenID RISC 1.0 section 2, CAEP 1.0 section 3, SSF 1.0 section 8.1.
pub const KNOWN: [EventKind; 9] = kinds! {
    "risc" "credential-compromise" Some(Effect::Kill);
    "risc" "account-purged" Some(Effect::Kill);
    "risc" "account-disabled" Some(Effect::Suspend);
    "risc" "account-credential-change-required" Some(Effect::Suspend);
    "risc" "account-enabled" Some(Effect::Lift);
    "caep" "session-revoked" Some(Effect::Suspend);
    "caep" "credential-change" Some(Effect::Suspend);
    "ssf" "verification" None;
    "ssf" "stream-updated" None;
};

/// Which events a transmitter may send, and what each does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Events(BTreeMap<&'static str, Effect>);

impl Events {
    /// Of the configuration; an empty table means every event with its own effect. Events about the stream are always understood.
    ///
    /// # Errors
    /// Names the event and the rule.
    pub fn parse(table: &BTreeMap<String, Effect>) -> Result<Self, String> {
        let own = || KNOWN.iter().filter_map(|kind| Some((kind.name, kind.effect?)));
        if table.is_empty() {
            return Ok(Self(own().collect()));
        }
        let one = |(name, effect): (&String, &Effect)| {
            let Some((name, default)) = own().find(|(known, _)| known == name) else {
                let known: Vec<&str> = own().map(|(name, _)| name).collect();
                return Err(format!("events.{name} is unknown; known are {}", known.join(", ")));
            };
            // What says that something is well again can do no harm, and what says that something is wrong no good.
            match (default == Effect::Lift) == (*effect == Effect::Lift) {
                true => Ok((name, *effect)),
                false if default == Effect::Lift => Err(format!("events.{name} can only be \"lift\"")),
                false => Err(format!("events.{name} can be \"kill\" or \"suspend\"")),
            }
        };
        table.iter().map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// How a stream was switched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamState {
    /// Events are sent.
    Enabled,
    /// Events are kept back.
    Paused,
    /// Events are neither sent nor kept.
    Disabled,
}

/// What a token says.
pub(super) struct Said {
    pub(super) event: EventKind,
    pub(super) meaning: Meaning,
    pub(super) reason: String,
}

/// Reads `events`, and whom the event is about.
///
/// # Errors
/// `invalid_request`; `access_denied` for what the transmitter may not say.
pub(super) fn read(claims: &Object, transmitter: &Transmitter) -> Result<Said, SetRefusal> {
    let (uri, payload) = the_one(claims)?;
    let denied = |rule: String| SetRefusal::new(SetError::AccessDenied, rule);
    let event = KNOWN.into_iter().find(|kind| kind.uri == uri);
    let event = event.ok_or_else(|| denied(format!("the event type {:?} is not understood here", brief(uri))))?;
    let reason = reason(event, payload);
    let meaning = match (event.effect, event.name) {
        (None, "verification") => Meaning::Verification,
        (None, _) => Meaning::Stream(stream_state(payload)?),
        (Some(_), name) => {
            let may_not = || denied(format!("this transmitter may not send {name}"));
            let effect = *transmitter.events.0.get(name).ok_or_else(may_not)?;
            let subjects = subject::read(claims, &transmitter.scope)?;
            if takes_something_away(event, payload)? { Meaning::Order(effect, subjects) } else { Meaning::NoEffect(subjects) }
        }
    };
    Ok(Said { event, meaning, reason })
}

/// SSF 1.0 section 4.1: one event a token, so that it is clear what was acknowledged.
fn the_one(claims: &Object) -> Result<(&str, &Object), SetRefusal> {
    let Some(Json::Object(events)) = claims.get("events") else {
        return Err(SetRefusal::invalid("`events` is missing or not an object (RFC 8417 section 2.2)"));
    };
    let mut all = events.iter();
    match (all.next(), all.next()) {
        (Some((uri, Json::Object(payload))), None) => Ok((uri, payload)),
        (Some((uri, other)), None) => {
            Err(SetRefusal::invalid(format!("the event {:?} is {}, not an object", brief(uri), other.kind())))
        }
        (None, _) => Err(SetRefusal::invalid("`events` is empty")),
        (Some(_), Some(_)) => Err(SetRefusal::invalid("`events` has more than one event")),
    }
}

/// CAEP 1.0 section 3.3: a credential that was created or renewed takes nothing away.
fn takes_something_away(event: EventKind, payload: &Object) -> Result<bool, SetRefusal> {
    if event.name != "credential-change" {
        return Ok(true);
    }
    match text(payload, "change_type")? {
        "revoke" | "delete" => Ok(true),
        "create" | "update" => Ok(false),
        _ => Err(SetRefusal::invalid("`change_type` is none of `create`, `revoke`, `update`, `delete`")),
    }
}

fn stream_state(payload: &Object) -> Result<StreamState, SetRefusal> {
    match text(payload, "status")? {
        "enabled" => Ok(StreamState::Enabled),
        "paused" => Ok(StreamState::Paused),
        "disabled" => Ok(StreamState::Disabled),
        _ => Err(SetRefusal::invalid("`status` is none of `enabled`, `paused`, `disabled`")),
    }
}

/// The event, and what is said of why: RISC's `reason` and `credential_type`, CAEP's `reason_admin` in English.
fn reason(event: EventKind, payload: &Object) -> String {
    let plain = ["reason", "credential_type", "change_type"].into_iter().filter_map(|name| payload.get(name)?.as_str());
    let admin = payload.get("reason_admin").and_then(Json::as_object).and_then(|texts| texts.get("en")?.as_str());
    let said: Vec<String> = plain.chain(admin).map(brief).filter(|text| !text.is_empty()).collect();
    if said.is_empty() {
        return event.name.to_owned();
    }
    let mut reason = format!("{}: {}", event.name, said.join(", "));
    reason.truncate(reason.floor_char_boundary(REASON_MAX_BYTES));
    reason
}
