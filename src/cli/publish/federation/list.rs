//! `publish list`

use clap::Args;
use serde_json::json;

use super::Place;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::{Outcome, table};

/// List the members.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
}

impl List {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (federation, at) = (self.place.load(&context.config()?)?, context.now());
        let state = |ended: bool| if ended { "ended" } else { "in force" };
        if context.global.json {
            let members: Vec<_> = federation
                .members
                .values()
                .map(|member| {
                    let (file, ended) = (member.file(), at >= member.until());
                    json!({ "entity_id": file.entity_id, "entity_types": file.entity_types, "intermediate": file.intermediate,
                    "by": file.approval.by, "ticket": file.approval.ticket, "until": member.until(), "state": state(ended) })
                })
                .collect();
            return Ok(Outcome::done(json_text(&json!({ "entity_id": federation.entity.id(), "members": members }))));
        }
        if federation.members.is_empty() {
            return Ok(Outcome::done(format!("{} has no members\n", federation.entity.id())));
        }
        let paint = context.paint;
        let mut rows = vec![["MEMBER", "TYPES", "APPROVED BY", "TICKET", "UNTIL"].iter().map(|head| paint.dim(head)).collect()];
        rows.extend(federation.members.values().map(|member| {
            let file = member.file();
            let until = file.approval.until.to_string();
            let until = if at >= member.until() { paint.bad(&format!("ended {until}")) } else { until };
            let types = if file.entity_types.is_empty() { "-".to_owned() } else { file.entity_types.join(", ") };
            vec![file.entity_id.clone(), types, file.approval.by.clone(), file.approval.ticket.clone(), until]
        }));
        Ok(Outcome::done(table::columns(&rows, "")))
    }
}
