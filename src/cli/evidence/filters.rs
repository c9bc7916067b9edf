//! Which records: options of `evidence list | export | stream`.

use clap::Args;

use crate::cli::args;
use countersign::listing::Filter;
use countersign::values::{Digest, Timestamp};

/// Which records. All that are given must match.
#[derive(Args)]
pub(crate) struct Filters {
    /// Of this client
    #[arg(long, value_name = "ID")]
    pub(super) client: Option<String>,
    /// On a statement that this key signed, by thumbprint
    #[arg(long, value_name = "THUMBPRINT")]
    pub(super) key: Option<String>,
    /// On this statement, by digest
    #[arg(long, value_name = "sha256:HEX")]
    pub(super) statement: Option<Digest>,
    /// With this reason code
    #[arg(long)]
    pub(super) code: Option<String>,
    /// allow, deny or unresolved
    #[arg(long, value_parser = ["allow", "deny", "unresolved"])]
    pub(super) decision: Option<String>,
    /// On the word of this anchor
    #[arg(long, value_name = "ID")]
    pub(super) anchor: Option<String>,
    /// Of clients of this owner
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// Asked for from this address
    #[arg(long)]
    pub(super) ip: Option<String>,
    /// From this moment on
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    pub(super) since: Option<Timestamp>,
    /// Before this moment
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    pub(super) until: Option<Timestamp>,
    /// Only those that used a break-glass override
    #[arg(long)]
    pub(super) overridden: bool,
    /// Also what is not an answer: starts, resolutions, grants, tool bindings, kill orders, overrides, reviews, changes of rules,
    /// anchors, policies
    #[arg(long, visible_alias = "all-kinds")]
    pub(super) all: bool,
}

impl Filters {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            client: self.client.clone(),
            key: self.key.clone(),
            statement: self.statement,
            code: self.code.clone(),
            decision: self.decision.clone(),
            anchor: self.anchor.clone(),
            owner: self.owner.clone(),
            ip: self.ip.clone(),
            since: self.since,
            until: self.until,
            before: None,
            overridden: self.overridden,
            all_kinds: self.all,
        }
    }
}
