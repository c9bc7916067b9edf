//! Asking witnesses to cosign our checkpoints, beside everything else: a witness that is slow or away delays nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::WitnessConfig;
use crate::evidence::merkle::{Vkey, consistency};
use crate::evidence::witness::{AddCheckpoint, cosignatures};
use crate::evidence::{LogReader, SignedCheckpoint, TreeReader, notes};
use crate::fetch::Poster;

/// How often a witness is asked at most. Checkpoints come each second; a witness serves many logs.
const EVERY: Duration = Duration::from_secs(5);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A few cosignatures, the longest that there are.
const ANSWER_MAX: usize = 64 << 10;
/// How often a request is made anew with the size that the witness names. One is enough unless two processes ask at once.
const TRIES: usize = 3;

/// Asks one witness for as long as the log is open.
pub(super) struct Witnessing {
    pub(super) url: String,
    pub(super) key: Vkey,
    pub(super) epoch: u32,
    pub(super) reader: Arc<LogReader>,
    pub(super) poster: Poster,
}

impl Witnessing {
    /// `None` when the configuration's key is none; that was checked when it was read.
    pub(super) fn new(config: &WitnessConfig, epoch: u32, reader: &Arc<LogReader>, poster: &Poster) -> Option<Self> {
        let url = format!("{}/add-checkpoint", config.url.trim_end_matches('/'));
        Some(Self { url, key: config.vkey.parse().ok()?, epoch, reader: Arc::clone(reader), poster: poster.clone() })
    }

    pub(super) async fn run(self, mut published: watch::Receiver<Option<Arc<SignedCheckpoint>>>) {
        let this = Arc::new(self);
        let mut known = 0;
        published.mark_changed();
        while published.changed().await.is_ok() {
            let signed = published.borrow_and_update().clone();
            let Some(signed) = signed else { continue };
            match Arc::clone(&this).ask(&signed, &mut known).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(witness = this.key.name(), error, "the checkpoint was not cosigned"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn ask(self: Arc<Self>, signed: &Arc<SignedCheckpoint>, known: &mut u64) -> Result<(), String> {
        let size = signed.checkpoint.size;
        for _ in 0..TRIES {
            let (this, old) = (Arc::clone(&self), *known);
            let path =
                tokio::task::spawn_blocking(move || consistency(&TreeReader::new(&this.reader, this.epoch), old, size)).await;
            let path = path.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            let body = AddCheckpoint { old, path, note: signed.note.clone() }.to_string();
            match self.poster.post(&self.url, body, ANSWER_MAX, PATIENCE).await? {
                (200, answer) => {
                    self.keep(signed, &answer)?;
                    *known = size;
                    return Ok(());
                }
                (409, answer) => {
                    let theirs: u64 = answer.trim().parse().map_err(|_| "its 409 names no size".to_owned())?;
                    if theirs > size {
                        tracing::error!(
                            witness = self.key.name(),
                            theirs,
                            ours = size,
                            "a witness has seen more records of this log"
                        );
                        metrics::gauge!("countersign_evidence_contradicted", "witness" => self.key.name().to_owned()).set(1.0);
                        return Err(format!(
                            "it has seen {theirs} records of this log, which has {size}: the log was rolled back"
                        ));
                    }
                    *known = theirs;
                }
                (status, answer) => return Err(format!("{status}: {}", answer.chars().take(200).collect::<String>())),
            }
        }
        Err("it names another size each time".to_owned())
    }

    /// Verifies the cosignature before it is kept.
    fn keep(&self, signed: &SignedCheckpoint, answer: &str) -> Result<(), String> {
        let mut cosigned = signed.clone();
        cosignatures(answer).ok_or("its answer is no cosignature")?.into_iter().for_each(|line| cosigned.note.add(line));
        let verified = cosigned.note.verify([&self.key]).map_err(|error| error.to_string())?;
        let time = verified.first().and_then(|by| by.time).unwrap_or(0);
        notes::keep_cosigned(self.reader.dir(), self.epoch, &cosigned).map_err(|error| error.to_string())?;
        let name = self.key.name().to_owned();
        // Its age is the time now minus this. Prometheus has floating-point gauges; seconds fit until the year 2106.
        metrics::gauge!("countersign_evidence_witnessed_seconds", "witness" => name)
            .set(u32::try_from(time).unwrap_or(u32::MAX));
        Ok(())
    }
}
