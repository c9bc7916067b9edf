//! `publish anchor-file`

use clap::Args;
use serde_json::json;

use super::{Place, failure};
use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::publisher::federation::anchor;

/// Print the trust-anchor file for verifiers.
#[derive(Args)]
pub(crate) struct AnchorFile {
    #[command(flatten)]
    place: Place,
}

impl AnchorFile {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let federation = self.place.load(&context.config()?)?;
        let text = anchor::file(&federation).map_err(failure)?;
        if !context.global.json {
            return Ok(Outcome::done(text));
        }
        let thumbprints: Vec<String> = federation.keys.iter().map(|key| key.public().thumbprint().base64url()).collect();
        let report = json!({ "entity_id": federation.entity.id(), "thumbprints": thumbprints, "file": text });
        Ok(Outcome::done(json_text(&report)))
    }
}
