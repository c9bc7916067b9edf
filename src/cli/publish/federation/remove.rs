//! `publish remove`

use clap::Args;
use serde_json::json;

use super::{Act, By, Place, act, failure, words};
use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;

/// Remove a member.
#[derive(Args)]
pub(crate) struct Remove {
    /// Its entity identifier
    id: String,
    /// Why
    #[arg(long, value_parser = words)]
    reason: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    place: Place,
}

impl Remove {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let by = (self.by.approved_by.as_str(), self.by.ticket.as_str(), Some(self.reason.as_str()));
        let (lifetime, mut notes) = act(context, by, |config| {
            let federation = self.place.load(config)?;
            let digest = self.place.publisher(config).remove(&self.id).map_err(failure)?;
            let act = Act { name: "remove", entity: federation.entity.id().to_owned(), subject: self.id.clone(), digest };
            Ok((act, federation.entity.statement_lifetime()))
        })?;
        let text = if context.global.json {
            json_text(&json!({ "entity_id": self.id, "removed": true }))
        } else {
            format!("{} is no member any more\n", self.id)
        };
        if !context.global.quiet {
            let spoken = crate::cli::args::spoken(lifetime);
            notes.push(format!(
                "what was signed about it lives up to {spoken}; `countersign revoke --client` ends it at our own verifiers now"
            ));
        }
        Ok(Outcome { notes, ..Outcome::done(text) })
    }
}
