//! Subject identifiers (RFC 9493): whom an event is about, as a kill order names it.

use crate::values::json::{Json, Object};

use super::super::revocation::TargetKind;
use super::{Scope, SetError, SetRefusal, brief, text};

/// Most identifiers of the format `aliases`. More names for one thing are a list of things.
pub const IDENTIFIERS_MAX: usize = 8;
/// Longest identifier in bytes: what a kill order can name.
const ID_MAX_BYTES: usize = 1024;

/// Something that an order can name, within what the transmitter may speak about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    kind: TargetKind,
    value: String,
}

impl Subject {
    /// Which kind of thing.
    #[must_use]
    pub const fn kind(&self) -> TargetKind {
        self.kind
    }
    /// Which one.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
    /// `client https://…`.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} {}", self.kind.name(), self.value)
    }
}

/// Reads `sub_id`. Of `aliases`, each that can name something here must be in scope; formats that cannot are passed over, as long as
/// one is left.
///
/// # Errors
/// `invalid_request`, `access_denied` for what is out of scope.
pub(super) fn read(claims: &Object, scope: &Scope) -> Result<Vec<Subject>, SetRefusal> {
    let id = match claims.get("sub_id") {
        Some(Json::Object(id)) => id,
        Some(other) => return Err(SetRefusal::invalid(format!("`sub_id` is {}, not an object", other.kind()))),
        None => return Err(SetRefusal::invalid("`sub_id` is missing (SSF 1.0 section 4.1)")),
    };
    if text(id, "format")? != "aliases" {
        let unknown = || SetRefusal::invalid("`sub_id.format` is none of `uri`, `opaque`, `iss_sub`, `aliases`");
        return Ok(vec![one(id, scope)?.ok_or_else(unknown)?]);
    }
    only(id, &["identifiers"])?;
    let malformed = || SetRefusal::invalid(format!("`sub_id.identifiers` is not an array of 1 to {IDENTIFIERS_MAX} objects"));
    let identifiers = id.get("identifiers").and_then(Json::as_array).ok_or_else(malformed)?;
    if identifiers.is_empty() || identifiers.len() > IDENTIFIERS_MAX {
        return Err(malformed());
    }
    let mut subjects = Vec::new();
    for identifier in identifiers {
        let identifier = identifier.as_object().ok_or_else(malformed)?;
        match one(identifier, scope)? {
            Some(subject) if !subjects.contains(&subject) => subjects.push(subject),
            _ => {}
        }
    }
    match subjects.is_empty() {
        true => Err(SetRefusal::invalid("no identifier of `sub_id` is a `uri`, `opaque` or `iss_sub`")),
        false => Ok(subjects),
    }
}

/// One identifier. `None` when its format names nothing that we know, such as an email address.
fn one(id: &Object, scope: &Scope) -> Result<Option<Subject>, SetRefusal> {
    let (kind, value) = match text(id, "format")? {
        "uri" => {
            only(id, &["uri"])?;
            (TargetKind::Client, text(id, "uri")?)
        }
        "opaque" => {
            only(id, &["id"])?;
            opaque(text(id, "id")?)
        }
        "iss_sub" => {
            only(id, &["iss", "sub"])?;
            let issuer = text(id, "iss")?;
            if !scope.has_issuer(issuer) {
                return Err(out_of_scope("issuer", issuer));
            }
            (TargetKind::Client, text(id, "sub")?)
        }
        // Section 3.2.8: aliases do not nest.
        "aliases" => return Err(SetRefusal::invalid("an identifier of `sub_id` is `aliases` again")),
        _ => return Ok(None),
    };
    if value.is_empty() || value.len() > ID_MAX_BYTES || value.chars().any(char::is_control) {
        return Err(SetRefusal::invalid(format!(
            "an identifier of `sub_id` must have 1 to {ID_MAX_BYTES} bytes without control characters"
        )));
    }
    let within = match kind {
        TargetKind::Issuer => scope.has_issuer(value),
        TargetKind::Anchor => scope.has_anchor(value),
        _ => scope.has_client(value),
    };
    if within { Ok(Some(Subject { kind, value: value.to_owned() })) } else { Err(out_of_scope(kind.name(), value)) }
}

/// An opaque identifier is a handle as answers give them (`revocation.handle`), or a client identifier. Of handles, keys, hosts and
/// statements are nobody's namespace.
fn opaque(id: &str) -> (TargetKind, &str) {
    match id.split_once(':') {
        Some(("client", value)) => (TargetKind::Client, value),
        Some(("issuer", value)) => (TargetKind::Issuer, value),
        Some(("anchor", value)) => (TargetKind::Anchor, value),
        _ => (TargetKind::Client, id),
    }
}

fn out_of_scope(kind: &str, value: &str) -> SetRefusal {
    let rule = format!("this transmitter may not speak about {kind} {:?}", brief(value));
    SetRefusal::new(SetError::AccessDenied, rule)
}

/// Section 3: no members but those of the format.
fn only(id: &Object, members: &[&str]) -> Result<(), SetRefusal> {
    match id.iter().map(|(name, _)| name).find(|name| *name != "format" && !members.contains(name)) {
        None => Ok(()),
        Some(name) => {
            Err(SetRefusal::invalid(format!("`sub_id` has a member {:?} that its format does not have", brief(name))))
        }
    }
}
