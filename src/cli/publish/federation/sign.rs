//! `publish sign`

use clap::Args;
use serde_json::json;

use super::{Act, By, Place, act, failure};
use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;

/// Write everything that is signed.
#[derive(Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    place: Place,
}

impl Sign {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let at = context.now();
        let (count, notes) = act(context, (&self.by.approved_by, &self.by.ticket, None), |config| {
            let entity = self.place.load(config)?.entity.id().to_owned();
            let (count, digest) = self.place.publisher(config).sign(at).map_err(failure)?;
            Ok((Act { name: "sign", subject: entity.clone(), entity, digest }, count))
        })?;
        let text = if context.global.json {
            json_text(&json!({ "signed": count }))
        } else {
            format!("{count} statements are in `signed/`\n")
        };
        Ok(Outcome { notes, ..Outcome::done(text) })
    }
}
