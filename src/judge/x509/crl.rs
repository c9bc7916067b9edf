//! One certificate revocation list (RFC 5280 section 5): read once per version, then only looked into.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openssl::x509::X509Crl;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use crate::values::{Digest, Timestamp};

use super::certificate::{Certificate, names, serial, timestamp};
use super::path::VerifiedPath;

/// Longest list in bytes: half a million entries of a CA that writes a reason into each.
pub const CRL_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How far in the future a list may begin: an authority's clock that is a little fast must not stop its clients.
pub const SKEW: Duration = Duration::from_secs(60);
/// RFC 5280 section 5.2.3: at most 20 octets.
const NUMBER_BYTES: usize = 20;

/// RSA with SHA-2, ECDSA with SHA-2, RSA-PSS, Ed25519. SHA-1 and MD5 are not here: a forged list would say good.
const SIGNATURES: [&str; 8] = [
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    "1.3.101.112",
];

/// A `CRLNumber`, as wide as it may be, so that it compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Number([u8; NUMBER_BYTES]);

/// What a list says about one serial number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Revoked, for whatever reason and from whatever date on.
    Revoked,
    /// `certificateHold`: suspended until a newer list leaves it out.
    Hold,
    /// `removeFromCRL` in a delta list: the hold has ended. Says nothing here, since delta lists are not combined with their base.
    Removed,
}

/// Why a list can never say good, whatever the time. It may still say revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each is its meaning")]
pub enum Partial {
    #[error("it is a delta list (RFC 5280 section 5.2.4)")]
    Delta,
    #[error("it is an indirect list (RFC 5280 section 5.2.5)")]
    Indirect,
    #[error("it is for some reasons only (RFC 5280 section 5.2.5)")]
    SomeReasons,
    #[error("its distribution point has no name that is compared (RFC 5280 section 5.2.5)")]
    UnnamedPoint,
    #[error("it has a critical extension that is not understood (RFC 5280 section 5.2)")]
    CriticalExtension,
    #[error("an entry has a critical extension that is not understood (RFC 5280 section 5.3)")]
    CriticalEntryExtension,
    #[error("an extension occurs twice or cannot be read (RFC 5280 section 5.2)")]
    UnreadableExtension,
    #[error("it has no `CRLNumber`, a critical one, or one of more than 20 octets (RFC 5280 section 5.2.3)")]
    Number,
    #[error("it has no `nextUpdate` (RFC 5280 section 5.1.2.5)")]
    NoNextUpdate,
}

/// Why a list is not believed at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each is its meaning")]
pub enum CrlError {
    #[error("it is longer than {CRL_MAX_BYTES} bytes")]
    TooLong,
    #[error("it is not one certificate revocation list in DER")]
    Malformed,
    #[error("it is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("it is another issuer's")]
    Issuer,
    #[error("its issuer's key may not sign lists (`keyUsage` without `cRLSign`)")]
    Usage,
    #[error("its signature does not verify")]
    Signature,
}

/// A list that was read, and that nobody has vouched for.
pub struct UnverifiedCrl {
    list: Arc<List>,
    signed: X509Crl,
}

impl fmt::Debug for UnverifiedCrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.digest.fmt(f)
    }
}

/// A list whose signature verified with the key of its issuer. Only [`UnverifiedCrl::verify`] makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedCrl {
    pub(super) list: Arc<List>,
    /// Digest of the issuer's public key.
    pub(super) issued_by: Digest,
}

#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) digest: Digest,
    pub(super) issuer: Box<[u8]>,
    authority_key: Option<Box<[u8]>>,
    pub(super) number: Option<Number>,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Option<Timestamp>,
    pub(super) entries: HashMap<Box<[u8]>, Entry>,
    pub(super) scope: Scope,
    pub(super) partial: Option<Partial>,
    accepted_algorithm: bool,
}

/// What an issuing distribution point limits a list to (RFC 5280 section 5.2.5).
#[derive(Clone, Default, Debug)]
pub(super) struct Scope {
    /// Of the point, if it has one.
    pub(super) names: Vec<Box<[u8]>>,
    pub(super) users_only: bool,
    pub(super) authorities_only: bool,
    pub(super) attributes_only: bool,
}

impl fmt::Display for UnverifiedCrl {
    /// What people look for: until when, and how many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let List { digest, entries, this_update, next_update, .. } = &*self.list;
        write!(f, "{digest}: of {this_update}")?;
        if let Some(next) = next_update {
            write!(f, ", until {next}")?;
        }
        write!(f, ", {} entries", entries.len())
    }
}

impl UnverifiedCrl {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// [`CrlError::TooLong`], [`CrlError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > CRL_MAX_BYTES {
            return Err(CrlError::TooLong);
        }
        let signed = X509Crl::from_der(der).map_err(|_| CrlError::Malformed)?;
        let (rest, read) = CertificateRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
        // An entry that one of the two parsers skips would be a certificate that is not revoked.
        let counted = signed.get_revoked().map_or(0, |entries| entries.len());
        if !rest.is_empty() || counted != read.iter_revoked_certificates().count() {
            return Err(CrlError::Malformed);
        }
        Ok(Self { list: Arc::new(List::of(&read, Digest::of(der))), signed })
    }

    /// Verifies the list with the issuer's certificate in a verified path.
    ///
    /// # Errors
    /// [`CrlError::Issuer`] when no certificate of the path but the leaf has the list's issuer for its name and key; and as
    /// [`UnverifiedCrl::verify`].
    pub fn verify_in(&self, path: &VerifiedPath) -> Result<VerifiedCrl, CrlError> {
        let issuer = path.links().map(|(_, issuer)| issuer).find(|issuer| self.is_of(issuer)).ok_or(CrlError::Issuer)?;
        self.verify(issuer)
    }

    /// Verifies the list with the certificate of its issuer, which must itself be part of a verified path.
    ///
    /// # Errors
    /// [`CrlError::Issuer`], [`CrlError::Usage`], [`CrlError::Algorithm`], [`CrlError::Signature`].
    pub fn verify(&self, issuer: &Certificate) -> Result<VerifiedCrl, CrlError> {
        if !self.is_of(issuer) {
            return Err(CrlError::Issuer);
        }
        // RFC 5280 section 6.3.3 (f).
        if issuer.usage.is_some_and(|usage| !usage.lists) {
            return Err(CrlError::Usage);
        }
        if !self.list.accepted_algorithm {
            return Err(CrlError::Algorithm);
        }
        let verified = issuer.x509.public_key().and_then(|key| self.signed.verify(&key)).unwrap_or(false);
        if !verified {
            return Err(CrlError::Signature);
        }
        Ok(VerifiedCrl { list: Arc::clone(&self.list), issued_by: issuer.key })
    }

    /// Why this list can never say good, if it cannot: for messages, until the list is verified.
    #[must_use]
    pub fn claimed_partial(&self) -> Option<Partial> {
        self.list.partial
    }

    /// RFC 5280 section 6.3.3 (b)(1), and 5.2.1: an authority with several keys says which one it used.
    pub(super) fn is_of(&self, issuer: &Certificate) -> bool {
        let other_key = match (&self.list.authority_key, &issuer.key_identifier) {
            (Some(named), Some(own)) => named != own,
            _ => false,
        };
        self.list.issuer == issuer.subject && !other_key
    }
}

impl VerifiedCrl {
    /// Of the list's DER: what a record names it by.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.list.digest
    }

    /// When it was issued.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.list.this_update
    }

    /// When a newer one is due, if it says so.
    #[must_use]
    pub fn next_update(&self) -> Option<Timestamp> {
        self.list.next_update
    }

    /// Whether its number counts: it is complete, and has begun.
    #[must_use]
    pub fn counts(&self, at: Timestamp) -> bool {
        self.list.partial.is_none() && self.list.this_update <= at.plus(SKEW)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        self.list.number
    }

    /// How many certificates it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.entries.len()
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.entries.is_empty()
    }

    /// Lists of one issuer's key and one scope are versions of each other; this names both.
    #[must_use]
    pub fn series(&self) -> Digest {
        let Scope { names, users_only, authorities_only, attributes_only, .. } = &self.list.scope;
        let flags = [u8::from(*users_only), u8::from(*authorities_only), u8::from(*attributes_only)];
        let parts = [&self.issued_by.as_bytes()[..], &self.list.issuer, &flags];
        let parts: Vec<&[u8]> = parts.into_iter().chain(names.iter().map(AsRef::as_ref)).collect();
        Digest::of_parts(&parts)
    }
}

impl List {
    fn of(read: &CertificateRevocationList<'_>, digest: Digest) -> Self {
        // RFC 5280 section 5.1.1.2: the algorithm inside what is signed is the one outside.
        let oid = read.signature_algorithm.algorithm.to_id_string();
        let accepted_algorithm = read.signature_algorithm == read.tbs_cert_list.signature && SIGNATURES.contains(&oid.as_str());
        let mut list = Self {
            digest,
            issuer: read.issuer().as_raw().into(),
            authority_key: None,
            number: None,
            this_update: timestamp(read.last_update()),
            next_update: read.next_update().map(timestamp),
            entries: HashMap::new(),
            scope: Scope::default(),
            partial: None,
            accepted_algorithm,
        };
        if read.tbs_cert_list.extensions_map().is_err() {
            list.limit(Partial::UnreadableExtension);
        }
        for extension in read.extensions() {
            list.take(extension);
        }
        if list.number.is_none() {
            list.limit(Partial::Number);
        }
        if list.next_update.is_none() {
            list.limit(Partial::NoNextUpdate);
        }
        list.take_entries(read);
        list
    }

    /// The first reason is kept.
    fn limit(&mut self, partial: Partial) {
        self.partial.get_or_insert(partial);
    }

    fn take(&mut self, extension: &X509Extension<'_>) {
        match (extension.oid.to_id_string().as_str(), extension.parsed_extension()) {
            ("2.5.29.27", _) => self.limit(Partial::Delta),
            ("2.5.29.20", _) => self.number = if extension.critical { None } else { Number::parse(extension.value) },
            (_, ParsedExtension::ParseError { .. }) => self.limit(Partial::UnreadableExtension),
            (_, ParsedExtension::AuthorityKeyIdentifier(key)) => {
                self.authority_key = key.key_identifier.as_ref().map(|id| id.0.into());
            }
            (_, ParsedExtension::IssuingDistributionPoint(point)) => {
                let names = names(point.distribution_point.as_ref());
                match Scope::read(extension.value, names) {
                    Ok(scope) => self.scope = scope,
                    Err(partial) => self.limit(partial),
                }
            }
            _ if extension.critical => self.limit(Partial::CriticalExtension),
            _ => {}
        }
    }

    fn take_entries(&mut self, read: &CertificateRevocationList<'_>) {
        let delta = read.extensions().iter().any(|extension| extension.oid.to_id_string() == "2.5.29.27");
        for listed in read.iter_revoked_certificates() {
            // RFC 5280 section 5.3.3: from here on the serial numbers are those of another issuer. Such a list is indirect, whatever
            // it says of itself.
            if listed.extensions().iter().any(|extension| extension.oid.to_id_string() == "2.5.29.29") {
                self.limit(Partial::CriticalEntryExtension);
                break;
            }
            if listed.extensions().iter().any(is_strange) {
                self.limit(Partial::CriticalEntryExtension);
            }
            let entry = meaning(listed, delta);
            let known = self.entries.entry(serial(listed.raw_serial())).or_insert(entry);
            if *known != entry {
                *known = Entry::Revoked;
            }
        }
    }
}

impl Scope {
    /// Reads an IssuingDistributionPoint; the names of its point are given. The parser's own fields are not used: it takes a member
    /// that it cannot read, a relative name for one, for absent, and drops what follows, `indirectCRL` too.
    fn read(der: &[u8], names: Vec<Box<[u8]>>) -> Result<Self, Partial> {
        let mut scope = Self { names, ..Self::default() };
        let (0x30, mut members, []) = element(der)? else { return Err(Partial::UnreadableExtension) };
        let mut last = None;
        while !members.is_empty() {
            let (tag, value, rest) = element(members)?;
            members = rest;
            let number = tag & 0x1f;
            if last.replace(number).is_some_and(|last| last >= number) {
                return Err(Partial::UnreadableExtension);
            }
            match (tag, value) {
                (0xa0, _) if scope.names.is_empty() => return Err(Partial::UnnamedPoint),
                (0xa0, _) | (0x81 | 0x82 | 0x84 | 0x85, [0]) => {}
                (0x81, [0xff]) => scope.users_only = true,
                (0x82, [0xff]) => scope.authorities_only = true,
                (0x83, _) => return Err(Partial::SomeReasons),
                (0x84, [0xff]) => return Err(Partial::Indirect),
                (0x85, [0xff]) => scope.attributes_only = true,
                _ => return Err(Partial::UnreadableExtension),
            }
        }
        Ok(scope)
    }
}

/// The first element of some DER, of at most 65,535 bytes: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Result<(u8, &[u8], &[u8]), Partial> {
    let read = || {
        let (length, rest) = match der.get(1..)? {
            [0x82, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
            [0x81, length, rest @ ..] => (u16::from(*length), rest),
            [length, rest @ ..] if *length < 0x80 => (u16::from(*length), rest),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(usize::from(length))?;
        Some((*der.first()?, content, rest))
    };
    read().ok_or(Partial::UnreadableExtension)
}

impl fmt::Display for Number {
    /// In hexadecimal, without leading zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = data_encoding::HEXLOWER.encode(&self.0);
        let digits = text.trim_start_matches('0');
        f.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

impl Number {
    /// Reads what [`Self`] is shown as.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let padded = format!("{text:0>width$}", width = 2 * NUMBER_BYTES);
        data_encoding::HEXLOWER.decode(padded.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// Reads the DER of a non-negative INTEGER of at most 20 octets.
    fn parse(der: &[u8]) -> Option<Self> {
        let [0x02, length, value @ ..] = der else { return None };
        let in_order = usize::from(*length) == value.len() && (1..=NUMBER_BYTES).contains(&value.len());
        if !in_order || value.first().is_some_and(|byte| byte & 0x80 != 0) {
            return None;
        }
        let mut number = [0; NUMBER_BYTES];
        number.get_mut(NUMBER_BYTES.checked_sub(value.len())?..)?.copy_from_slice(value);
        Some(Self(number))
    }
}

/// A critical extension of an entry that is neither a reason (2.5.29.21) nor a date of invalidity (2.5.29.24).
fn is_strange(extension: &X509Extension<'_>) -> bool {
    extension.critical && !["2.5.29.21", "2.5.29.24"].contains(&extension.oid.to_id_string().as_str())
}

fn meaning(listed: &RevokedCertificate<'_>, delta: bool) -> Entry {
    // RFC 5280 section 5.3.1. `removeFromCRL` has no meaning in a complete list: OpenSSL reads it as good there.
    match (listed.extensions_map().is_ok(), listed.reason_code().map(|(_, code)| code.0)) {
        (true, Some(6)) => Entry::Hold,
        (true, Some(8)) if delta => Entry::Removed,
        _ => Entry::Revoked,
    }
}
