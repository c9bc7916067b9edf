//! The case: the arguments of one run of the judge, and what it has found so far.

use std::sync::Arc;
use std::time::Duration;

use crate::values::client::Source;
use crate::values::freshness;
use crate::values::json::Object;
use crate::values::{Code, Digest, PublicUrl, Timestamp};

use super::anchors::Anchor;
use super::dossier::{Absence, Dossier, Exhibit, JWKS_MAX_BYTES, Locator, Outcome, Purpose, Response, Want};
use super::finding::{Check, Finding, Refusal, Stop};
use super::metadata::{self, ClientMetadata, Level, Role, RuleResult};
use super::revocation::{KillSet, Target, TargetKind};
use super::rules::Rules;
use super::sources::RevocationSource;

pub(super) struct Case<'a> {
    pub(super) dossier: &'a Dossier,
    pub(super) rules: &'a Rules,
    pub(super) kills: &'a KillSet,
    pub(super) source: &'a Source,
    /// An override may excuse the source: that is judged when the client is known.
    pub(super) excused: bool,
    pub(super) at: Timestamp,
    pub(super) findings: Vec<Finding>,
    pub(super) path: Vec<Digest>,
    /// The client's metadata document, once it was looked at.
    pub(super) document: Option<Digest>,
    /// The earliest end of anything looked at so far.
    pub(super) valid_until: Timestamp,
    /// Where it is said whether the client was revoked.
    pub(super) statuses: Vec<RevocationSource>,
    /// What was used of the dossier so far.
    pub(super) used: Vec<Locator>,
}

impl<'a> Case<'a> {
    pub(super) fn holds(&mut self, check: Check) {
        self.findings.push(Finding { check, holds: true, rests_on: self.last_exhibit(), detail: None });
    }

    pub(super) fn note(&mut self, check: Check, holds: bool, detail: impl Into<Box<str>>) {
        self.findings.push(Finding { check, holds, rests_on: self.last_exhibit(), detail: Some(detail.into()) });
    }

    /// Adds something that the decision rests on; findings from here on point to it.
    pub(super) fn rest_on(&mut self, digest: Digest) {
        self.path.push(digest);
    }

    fn last_exhibit(&self) -> Option<u8> {
        u8::try_from(self.path.len().checked_sub(1)?).ok()
    }

    /// Holds metadata to every rule of its role.
    pub(super) fn inspect(&mut self, object: &Object, role: Role<'_>) -> Result<ClientMetadata, Refusal> {
        let inspection = metadata::inspect(object, role, &self.rules.strictness());
        self.adopt(inspection.results)?;
        inspection
            .metadata
            .ok_or_else(|| Refusal::new(Code::MetadataInvalid, Check::MetadataTypes, "the metadata is not valid"))
    }

    /// Takes over the results of rules: the first failure refuses, warnings are findings that do not hold.
    fn adopt(&mut self, results: Vec<RuleResult>) -> Result<(), Refusal> {
        for RuleResult { check, level, detail, .. } in results {
            match level {
                Level::Pass => self.holds(check),
                Level::Warn => self.note(check, false, detail),
                Level::Fail(code) => return Err(Refusal::new(code, check, detail)),
            }
        }
        Ok(())
    }

    /// The first anchor whose approval is in force. Of several that have ended, the first one's refusal is told.
    pub(super) fn in_force<'b>(
        &mut self,
        anchors: impl Iterator<Item = &'b Arc<Anchor>>,
    ) -> Result<Option<Arc<Anchor>>, Refusal> {
        let mut ended = None;
        for anchor in anchors {
            match anchor.check_approval(self.at) {
                Ok(()) => return Ok(Some(Arc::clone(anchor))),
                Err(refusal) => ended = ended.or(Some(refusal)),
            }
        }
        ended.map_or(Ok(None), Err)
    }

    /// What can be told before anything is fetched: whether the source may ask for this anchor's clients, and whether a kill
    /// order names the anchor or what the request names. Asked again at each request, for cached clients too.
    pub(super) fn gate(&self, anchor: &Anchor, named: &[Target]) -> Result<(), Refusal> {
        if !self.excused {
            anchor.check_source(self.source)?;
        }
        let own =
            [Some(Target::new(TargetKind::Anchor, &anchor.id)), anchor.issuer().map(|i| Target::new(TargetKind::Issuer, i))];
        self.kills.check(own.into_iter().flatten().chain(named.iter().copied()))
    }

    /// The exhibit for a document.
    fn exhibit(&mut self, locator: &Locator) -> Result<&'a Arc<Exhibit>, Stop> {
        let want = || Stop::Need(vec![Want { locator: locator.clone(), checked_after: None, signer: None }]);
        let exhibit = self.dossier.get(locator).ok_or_else(want)?;
        self.used.push(locator.clone());
        Ok(exhibit)
    }

    /// When the oldest document used so far was obtained.
    pub(super) fn as_of(&self) -> Timestamp {
        let used = self.used.iter().filter_map(|locator| self.dossier.get(locator));
        used.map(|exhibit| exhibit.obtained_at).min().unwrap_or(self.at).min(self.at)
    }

    /// The documents used that are older than this, and of which no newer was asked for since then.
    pub(super) fn older_than(&self, age: Duration) -> Vec<Want> {
        let since = self.at.minus(age);
        let old = self.used.iter().filter_map(|locator| Some((locator, self.dossier.get(locator)?)));
        let old = old.filter(|(_, exhibit)| exhibit.obtained_at < since && exhibit.checked_at < since);
        old.map(|(locator, exhibit)| Want { locator: locator.clone(), checked_after: Some(exhibit.checked_at), signer: None })
            .collect()
    }

    /// The metadata document at a URL: only a 200 of the right type and size is one (CIMD section 5).
    pub(super) fn metadata_document(&mut self, url: &PublicUrl) -> Result<&'a Response, Stop> {
        let exhibit = self.exhibit(&Locator { url: url.clone(), purpose: Purpose::MetadataDocument })?;
        let response = received(exhibit)?;
        self.rest_on(response.digest);
        self.document = Some(response.digest);
        self.holds(Check::FetchPublicAddress);
        check_status(response)?;
        self.holds(Check::FetchStatus);
        check_size(response, self.rules.source().document_max_bytes)?;
        self.holds(Check::FetchSize);
        check_media_type(response)?;
        self.holds(Check::FetchMediaType);
        self.bound_by(exhibit, response);
        Ok(response)
    }

    /// The response that holds an issuer's keys. `checked_after`: the one at hand does not do.
    pub(super) fn jwks(&mut self, url: &PublicUrl) -> Result<(&'a Exhibit, &'a Response), Stop> {
        let exhibit = self.exhibit(&Locator { url: url.clone(), purpose: Purpose::Jwks })?;
        // Keys that cannot be read say nothing about the statement, so every failure here is "could not tell".
        let unsure = |refusal: Refusal| Refusal { transient: refusal.code != Code::FetchBlockedAddress, ..refusal };
        let response = received(exhibit).map_err(unsure)?;
        check_status(response).map_err(unsure)?;
        check_size(response, JWKS_MAX_BYTES).map_err(unsure)?;
        self.rest_on(response.digest);
        self.bound_by(exhibit, response);
        Ok((exhibit, response))
    }

    fn bound_by(&mut self, exhibit: &Exhibit, response: &Response) {
        // RFC 9110 section 5.3: several lines of one list-valued header are one list. A `no-store` on a second line counts.
        let header = |name: &str| match name {
            "cache-control" => Some(response.header_lines(name).collect::<Vec<_>>().join(",")),
            _ => response.header(name).map(str::to_owned),
        };
        let fresh_until = freshness::fresh_until(exhibit.obtained_at, header, self.rules.source().bounds);
        self.valid_until = self.valid_until.min(fresh_until);
    }
}

fn received(exhibit: &Exhibit) -> Result<&Response, Refusal> {
    let (absence, detail) = match &exhibit.outcome {
        Outcome::Response(response) => return Ok(response),
        Outcome::Absent(absence, detail) => (absence, detail.clone()),
    };
    let check = Check::FetchAnswered;
    Err(match absence {
        Absence::BlockedAddress => Refusal::new(Code::FetchBlockedAddress, Check::FetchPublicAddress, detail),
        Absence::TooLarge => Refusal::new(Code::FetchTooLarge, Check::FetchSize, detail),
        Absence::Encoded => Refusal::new(Code::CimdNotJson, Check::FetchMediaType, detail),
        Absence::Timeout => Refusal::transient(Code::FetchTimeout, check, detail),
        Absence::Unreachable => Refusal::transient(Code::FetchUnreachable, check, detail),
        Absence::Throttled => Refusal::transient(Code::FetchThrottled, check, detail),
        // Said of status lists alone.
        Absence::Outdated => Refusal::transient(Code::FetchUnreachable, check, detail),
    })
}

/// CIMD section 5: every status except 200 is an error, and redirects are not followed. A 304 answers a question that was not
/// asked.
fn check_status(response: &Response) -> Result<(), Refusal> {
    let status = response.status;
    match status {
        200 => Ok(()),
        301 | 302 | 303 | 307 | 308 => {
            let detail = format!("the server answered {status}; redirects are not followed");
            Err(Refusal::new(Code::FetchRedirect, Check::FetchStatus, detail))
        }
        429 | 500..=599 => {
            let detail = format!("the server answered {status}");
            Err(Refusal::transient(Code::FetchStatus, Check::FetchStatus, detail))
        }
        _ => Err(Refusal::new(Code::FetchStatus, Check::FetchStatus, format!("the server answered {status}, not 200"))),
    }
}

/// The fetcher stops reading at the same limit; a dossier from elsewhere has to keep it too.
fn check_size(response: &Response, limit: usize) -> Result<(), Refusal> {
    if response.body.len() <= limit {
        return Ok(());
    }
    Err(Refusal::new(Code::FetchTooLarge, Check::FetchSize, format!("the body is larger than {limit} bytes")))
}

/// CIMD section 4: `application/json` or `application/<something>+json`, not compressed.
fn check_media_type(response: &Response) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Code::CimdNotJson, Check::FetchMediaType, detail));
    if let Some(encoding) = response.header("content-encoding").filter(|e| !e.eq_ignore_ascii_case("identity")) {
        return refuse(format!("the body is encoded as {encoding:?} although only `identity` was accepted"));
    }
    let essence = response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let structured = essence.strip_prefix("application/").and_then(|s| s.strip_suffix("+json")).is_some_and(|s| !s.is_empty());
    if essence == "application/json" || structured {
        return Ok(());
    }
    refuse(format!("the media type is {essence:?}, not `application/json` or `application/*+json`"))
}
