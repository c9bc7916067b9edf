//! `publish add`: a member is enrolled with the keys that it has now, on somebody's word.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use toml::value::Datetime;

use super::{Act, Place, act, failure, words};
use crate::cli::context::{Context, json_text, read_file};
use crate::cli::failure::Failure;
use crate::cli::reference::is_jws;
use crate::cli::{Outcome, exit, table};
use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::fetch::Fetcher;
use countersign::judge::Want;
use countersign::judge::dossier::{Locator, Outcome as Came, Purpose};
use countersign::publisher::federation::enrol::Offer;
use countersign::publisher::federation::{Approval, SubordinateFile, well_known};
use countersign::service::fetch_options;
use countersign::values::Timestamp;

/// Enrol a member.
#[derive(Args)]
#[command(
    after_help = "Without --approved-by and --ticket nothing is enrolled: what would be is shown, with the thumbprints to compare by another\nway, and the exit code is 3."
)]
pub(crate) struct Add {
    /// Its entity identifier, a file with its entity configuration (a JWT), or a file of the form of `subordinates/*.toml`
    #[arg(value_name = "FILE|URL")]
    what: String,
    /// Who approves it
    #[arg(long, value_name = "NAME", value_parser = words, requires = "ticket")]
    approved_by: Option<String>,
    /// Where that is tracked
    #[arg(long, value_parser = words, requires = "approved_by")]
    ticket: Option<String>,
    /// The last day of the approval; default: a year from now
    #[arg(long, value_name = "DATE")]
    until: Option<Datetime>,
    #[command(flatten)]
    place: Place,
}

/// What is to be enrolled.
enum Candidate {
    Offer(Box<Offer>),
    File(Box<SubordinateFile>),
}

/// How long an approval is when nobody says: it has to be looked at again once a year.
const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);

impl Add {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (config, at) = (context.config()?, context.now());
        let candidate = self.candidate(context, &config, at)?;
        let superior = self.place.load(&config)?.entity.id().to_owned();
        let mut hints = Vec::new();
        let file = match candidate {
            Candidate::File(file) => file,
            Candidate::Offer(offer) => {
                if !offer.authority_hints.contains(&superior) && !context.global.quiet {
                    let name = &offer.entity_id;
                    hints.push(format!(
                        "{name} does not name {superior} in `authority_hints` yet; until it does, no chain leads here"
                    ));
                }
                let (Some(by), Some(ticket)) = (&self.approved_by, &self.ticket) else {
                    return Ok(shown(&offer, hints, context));
                };
                let day = |at: Timestamp| at.to_string().get(..10).unwrap_or_default().parse::<Datetime>();
                let (on, until) = (day(at), self.until.map_or_else(|| day(at.plus(YEAR)), Ok));
                let date = |error| Failure::new("publish add", error, "write --until as 2027-05-01");
                let (on, until) = (on.map_err(date)?, until.map_err(date)?);
                Box::new(offer.approved(Approval { by: by.clone(), ticket: ticket.clone(), on, until }))
            }
        };
        let approval = file.approval.clone();
        let (path, mut notes) = act(context, (&approval.by, &approval.ticket, None), |config| {
            let (path, digest) = self.place.publisher(config).add(&file).map_err(failure)?;
            Ok((Act { name: "add", entity: superior, subject: file.entity_id.clone(), digest }, path))
        })?;
        notes.splice(0..0, hints);
        let (path, until) = (path.display().to_string(), approval.until.to_string());
        let text = if context.global.json {
            json_text(&json!({ "entity_id": file.entity_id, "file": path, "enrolled": true, "until": until }))
        } else {
            format!("{} is a member until {until}: {path}\n", file.entity_id)
        };
        Ok(Outcome { notes, ..Outcome::done(text) })
    }

    fn candidate(&self, context: &Context, config: &Config, at: Timestamp) -> Result<Candidate, Failure> {
        let advice = "ask whoever runs it for a sound entity configuration";
        if self.what.starts_with("https://") {
            let token = context.block_on(fetched(&self.what, config))??;
            let offer = Offer::read(&token, Some(&self.what), at);
            return offer.map(|offer| Candidate::Offer(Box::new(offer))).map_err(|rule| Failure::new(&self.what, rule, advice));
        }
        let bytes = read_file(Path::new(&self.what), "name a file, or an entity identifier that begins with https://")?;
        let text = String::from_utf8(bytes).map_err(|_| Failure::new(&self.what, "it is not text", advice))?;
        if is_jws(text.trim()) {
            let offer = Offer::read(text.trim(), None, at);
            return offer.map(|offer| Candidate::Offer(Box::new(offer))).map_err(|rule| Failure::new(&self.what, rule, advice));
        }
        if self.approved_by.is_some() || self.until.is_some() {
            let what = "the approval of a file of this form is in the file";
            return Err(Failure::new(&self.what, what, "leave out --approved-by, --ticket and --until").usage());
        }
        let file = SubordinateFile::from_toml(&text);
        let advice = "correct that; docs/federation-publishing.md explains the file";
        file.map(|file| Candidate::File(Box::new(file))).map_err(|rule| Failure::new(&self.what, rule, advice))
    }
}

/// Fetched as a decision would fetch it: no redirects, no special-use addresses, within bounds.
async fn fetched(entity_id: &str, config: &Config) -> Result<String, Failure> {
    let advice = "look at its server, DNS and certificate; or let its operator give you the configuration in a file";
    let url = well_known(entity_id).map_err(|rule| Failure::new(entity_id, rule, "write its entity identifier").usage())?;
    let place = url.as_str().to_owned();
    let fail = |what: String| Failure::new(&place, what, advice);
    let fetcher = Fetcher::new(fetch_options(config), Arc::new(SystemClock)).map_err(|error| fail(error.to_string()))?;
    let want = Want { locator: Locator { url, purpose: Purpose::EntityStatement }, checked_after: None, signer: None };
    let exhibit = fetcher.fulfil(&want).await;
    match &exhibit.outcome {
        Came::Absent(_, why) => Err(fail(why.clone())),
        Came::Response(response) if response.status != 200 => Err(fail(format!("the server answered {}", response.status))),
        Came::Response(response) => {
            let essence = response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !essence.eq_ignore_ascii_case("application/entity-statement+jwt") {
                return Err(fail(format!("the media type is {essence:?}, not `application/entity-statement+jwt`")));
            }
            String::from_utf8(response.body.to_vec()).map_err(|_| fail("it is not text".to_owned()))
        }
    }
}

/// What would be enrolled.
fn shown(offer: &Offer, notes: Vec<String>, context: &Context) -> Outcome {
    let keys = || offer.keys.iter().map(|(kid, thumbprint)| (kid.clone(), thumbprint.base64url()));
    let text = if context.global.json {
        let keys: Vec<_> = keys().map(|(kid, thumbprint)| json!({ "kid": kid, "thumbprint": thumbprint })).collect();
        json_text(&json!({
            "entity_id": offer.entity_id, "enrolled": false, "entity_types": offer.entity_types,
            "intermediate": offer.intermediate, "authority_hints": offer.authority_hints, "keys": keys,
        }))
    } else {
        let mut rows = vec![
            vec!["entity".to_owned(), offer.entity_id.clone()],
            vec!["types".to_owned(), offer.entity_types.join(", ")],
            vec!["superiors".to_owned(), offer.authority_hints.join(", ")],
        ];
        rows.extend(keys().map(|(kid, thumbprint)| vec!["key".to_owned(), format!("{kid}, thumbprint {thumbprint}")]));
        let ask = "not enrolled: compare the thumbprints with its operator, then give --approved-by and --ticket";
        format!("{}{ask}\n", table::columns(&rows, ""))
    };
    Outcome { notes, ..Outcome::done(text) }.exit(exit::UNRESOLVED)
}
