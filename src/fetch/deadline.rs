//! One deadline over a whole fetch, and the failure that everything here ends with.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::judge::dossier::Absence;

/// Longest sentence of a failure in bytes. It goes into the evidence, and a TLS error lists every name of the certificate.
const WHY_MAX_BYTES: usize = 400;

/// Longest deadline, whatever is configured: a sum with a moment must not overflow, and a fetch that takes a minute is lost.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) absence: Absence,
    /// One sentence, without control characters.
    pub(super) why: String,
}

impl Failure {
    pub(super) fn new(absence: Absence, why: &str) -> Self {
        let mut text = String::new();
        for character in why.chars() {
            if text.len() + character.len_utf8() + '…'.len_utf8() > WHY_MAX_BYTES {
                text.push('…');
                break;
            }
            text.push(if character.is_control() { ' ' } else { character });
        }
        Self { absence, why: text }
    }
}

/// The moment by which a fetch has ended, counted by the machine's monotonic clock: the wall clock may jump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    pub(super) fn after(whole: Duration) -> Self {
        let whole = whole.min(WHOLE_MAX);
        Self { at: Instant::now() + whole, whole }
    }

    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Runs one stage of the fetch until the deadline of the whole.
    pub(super) async fn bound<T>(self, doing: &str, stage: impl Future<Output = T>) -> Result<T, Failure> {
        timeout_at(self.at, stage).await.map_err(|_| {
            let why = format!("the deadline of {} ms passed while {doing}", self.whole.as_millis());
            Failure::new(Absence::Timeout, &why)
        })
    }
}
