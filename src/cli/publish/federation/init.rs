//! `publish init`

use clap::Args;
use serde_json::json;

use super::{Act, By, Place, act, failure};
use crate::cli::Outcome;
use crate::cli::anchors::keygen::KeyAlgorithm;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;

/// Make a federation.
#[derive(Args)]
pub(crate) struct Init {
    /// Its entity identifier: an https URL without query and fragment, below which its endpoints will be
    #[arg(long, value_name = "URL")]
    entity_id: String,
    /// A superior, for an intermediate; repeat for more. Without any it is a trust anchor
    #[arg(long = "superior", value_name = "URL")]
    superiors: Vec<String>,
    /// What its key signs with
    #[arg(long, value_enum, default_value_t)]
    alg: KeyAlgorithm,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    place: Place,
}

impl Init {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let by = (self.by.approved_by.as_str(), self.by.ticket.as_str(), None);
        let (kid, notes) = act(context, by, |config| {
            let publisher = self.place.publisher(config);
            let digest = publisher.create(&self.entity_id, &self.superiors, self.alg.algorithm()).map_err(failure)?;
            let kid = publisher.load().map_err(failure)?.entity.signing_key().to_owned();
            let entity = self.entity_id.clone();
            Ok((Act { name: "init", subject: entity.clone(), entity, digest }, kid))
        })?;
        let text = if context.global.json {
            json_text(&json!({ "entity_id": self.entity_id, "kid": kid }))
        } else {
            format!("{} signs with {kid}\n", self.entity_id)
        };
        Ok(Outcome { notes, ..Outcome::done(text) })
    }
}
