//! What this verifier remembers about a client from the resolution before: when it first saw it, and hashes of what must not change
//! unnoticed. An input like any other: it is recorded with the decision, so that a replay sees what was seen then.

use crate::values::json::{Json, Object};
use crate::values::{Digest, Timestamp};

/// What is compared, by the names that policies see.
pub const MEMBERS: [&str; 8] =
    ["keys", "redirect_uris", "auth_method", "owner", "purpose", "environment", "class", "software_version"];

/// Hashes of what a client looked like, in the order of [`MEMBERS`]. Half of a SHA-256's half: they only say *different*, to the same
/// verifier, about one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u64; MEMBERS.len()]);

/// What was known about a client before it was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// When it was first resolved, as far as the cache reaches back.
    pub first_seen: Timestamp,
    /// What it looked like when it was last allowed in, or first seen.
    pub fingerprint: Fingerprint,
}

impl Fingerprint {
    /// Of what a resolution found: the metadata that matters, and what its vouchers say.
    pub(super) fn of(metadata: &Object, said: [Option<&str>; 4]) -> Self {
        let [owner, purpose, environment, class] = said;
        let json = |name: &str| {
            metadata.get(name).filter(|value| **value != Json::Null).map(|value| serde_json::to_vec(value).unwrap_or_default())
        };
        let keys = json("jwks").or_else(|| json("jwks_uri"));
        let text = |value: Option<&str>| value.map(|text| text.as_bytes().to_vec());
        let members = [
            keys,
            json("redirect_uris"),
            json("token_endpoint_auth_method"),
            text(owner),
            text(purpose),
            text(environment),
            text(class),
            json("software_version"),
        ];
        Self(members.map(|member| member.map_or(0, |bytes| hash(&bytes))))
    }

    /// From what a record holds. `None` when it is of another version.
    #[must_use]
    pub fn from_hashes(hashes: &[u64]) -> Option<Self> {
        hashes.try_into().ok().map(Self)
    }

    /// For a record.
    #[must_use]
    pub const fn hashes(&self) -> &[u64] {
        &self.0
    }

    /// What differs, by name.
    pub(super) fn changes(&self, before: &Self) -> Box<[&'static str]> {
        MEMBERS.iter().zip(self.0.iter().zip(&before.0)).filter(|(_, (now, then))| now != then).map(|(name, _)| *name).collect()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    Digest::of(bytes).as_bytes().first_chunk::<8>().map_or(0, |half| u64::from_be_bytes(*half))
}
