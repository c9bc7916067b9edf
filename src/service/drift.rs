//! Clients that are not as they were (PRODUCT R10): put on record, suspended where a policy says so, and taken as they are when an operator
//! lifts that.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::events::LOOK_BACK;
use super::kills::Kills;
use super::memo::Histories;
use super::{Inner, Service};
use crate::evidence::{AppendError, EvidenceLog, LogReader};
use crate::judge::history::{Fingerprint, Known};
use crate::judge::revocation::TargetKind;
use crate::judge::{Decision, Resolved};
use crate::record::{Change, Record};
use crate::revocation::kill_log::{Act, Action, ByPolicy, NewOrder, Order, Origin, Target};
use crate::values::{Digest, Request, Timestamp};

impl Service {
    /// Gives the suspension that a decision's policy demands. The decision denies anyway; the order makes that last, here, after a restart
    /// and at each replica, until somebody lifts it.
    pub(super) async fn suspend_as_told(&self, decision: &Decision) {
        let Some((policy, client)) = decision.suspends().zip(decision.client().map(|client| client.id().to_owned())) else {
            return;
        };
        if let Some(controller) = self.follows() {
            // With each denial, so not loud: that the client has changed is on record once.
            tracing::debug!(policy, controller, "a policy suspends a client; this replica denies it and can order nothing");
            return;
        }
        let reason = decision.detail().to_owned();
        let by = ByPolicy { policy: policy.to_owned(), rules: decision.rules() };
        let inner = Arc::clone(&self.0);
        // In a task of its own, as every order: one whose caller hangs up is carried out whole.
        let given = tokio::spawn(async move { inner.suspend(client, reason, by).await });
        if let Ok(Err(error)) = given.await {
            tracing::error!(policy, error, "a policy suspends a client, and the order could not be given");
        }
    }
}

impl Inner {
    async fn suspend(&self, client: String, reason: String, by: ByPolicy) -> Result<(), String> {
        let at = self.clock.now();
        let given =
            self.kills.give_planned(move |orders| ((), order(orders, client, reason, by, at).into_iter().collect())).await;
        let (_, records) = given.map_err(|error| error.to_string())?;
        let records = records.iter().map(|(_, record)| record);
        self.ledger.append_all(records).await.map_err(|error| error.to_string())
    }

    /// Puts on record that a client that was just resolved is not as it was.
    pub(super) async fn write_change(&self, request: &Request, client: &Resolved, evaluation: u64) -> Result<(), AppendError> {
        let change = Change::of(client, evaluation).filter(|_| self.histories.is_news(request, client));
        self.ledger.append_all(&change.map(|change| Record::Change(Box::new(change)))).await?;
        self.histories.told(request, client);
        Ok(())
    }

    /// Takes clients as they are whose suspension on a policy's word was lifted by orders after this one.
    pub(super) fn accept_changes(&self, after: u64) {
        for (id, _) in self.kills.accepted_after(after) {
            self.histories.forget(&Digest::of(id.as_bytes()));
            let cached: Vec<Arc<Digest>> =
                self.cache.iter().filter(|(_, entry)| entry.client.id() == id).map(|(key, _)| key).collect();
            cached.iter().for_each(|key| self.cache.invalidate(&**key));
        }
    }
}

/// What clients looked like when they were last allowed in, as far as the last records of the runs before say: else whoever changes a client
/// while the service is down is not noticed.
pub(super) fn histories_of_last_run(log: &EvidenceLog, evidence: &Path, kills: &Kills, clients: u64) -> Histories {
    // Small, and worth more the longer they reach back.
    let histories = Histories::new(clients.saturating_mul(4));
    let accepted: HashMap<String, Timestamp> = kills.accepted_after(0).into_iter().collect();
    let tail = match LogReader::open(evidence).and_then(|reader| reader.tail(LOOK_BACK)) {
        Ok(tail) => tail,
        Err(error) => {
            tracing::warn!(%error, "what clients looked like in the last run is not known");
            return histories;
        }
    };
    let mut requests: HashMap<Digest, Option<Request>> = HashMap::new();
    for raw in &tail {
        let Ok(Record::Evaluation(evaluation)) = Record::decode(&raw.bytes) else { continue };
        let is_accepted = |id: &String| accepted.get(id).is_some_and(|at| evaluation.at <= *at);
        // As when it was resolved: what was denied for what changed is not what the next one is compared with.
        let counts = evaluation.known.is_none() || evaluation.outcome.word() == "allow";
        let (Some(id), Some(hashes), true) = (&evaluation.client.id, &evaluation.fingerprint, counts) else { continue };
        let Some(fingerprint) = Fingerprint::from_hashes(hashes).filter(|_| !is_accepted(id)) else { continue };
        // Clients are asked about in few shapes, again and again.
        let read = || serde_json::from_slice(&log.blob(&evaluation.request).ok()??).ok();
        let Some(request) = requests.entry(evaluation.request).or_insert_with(read) else { continue };
        let first_seen = evaluation.known.as_ref().map_or(evaluation.at, |known| known.first_seen);
        histories.recall(request, id, Known { first_seen, fingerprint });
    }
    histories
}

/// The order that suspends a client, unless one of the same policy is in force.
fn order(orders: &[Order], client: String, reason: String, by: ByPolicy, at: Timestamp) -> Option<NewOrder> {
    let target = Target { kind: TargetKind::Client, value: client };
    let lifted = |order: &Order| orders.iter().any(|lift| lift.lifts == Some(order.seq));
    let same = |order: &Order| {
        let by_it = matches!(&order.origin, Some(Origin::Policy(given)) if given.policy == by.policy);
        by_it && order.action == Action::Suspend && order.target == target && !lifted(order)
    };
    if orders.iter().any(same) {
        return None;
    }
    let given = format!("policy {}", by.policy);
    Some(NewOrder { at, act: Act::Suspend, target, reason, ticket: String::new(), by: given, origin: Some(Origin::Policy(by)) })
}
