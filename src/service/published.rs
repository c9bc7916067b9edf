//! What was published of our log before this start, so that a directory that was rolled back is not gone on with (PRODUCT R17): an object
//! store and witnesses remember.

use std::time::Duration;

use super::OpenError;
use crate::config::{Config, WitnessConfig};
use crate::evidence::merkle::{KeyKind, Vkey};
use crate::evidence::{Elsewhere, LogReader, SignedCheckpoint};
use crate::fetch::Poster;
use crate::keep::{self, Keeping, Known};
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// How long a start waits for the store. It is asked for a few small objects.
const STORE: Duration = Duration::from_secs(20);
/// And for one answer of a witness.
const WITNESS: Duration = Duration::from_secs(3);
/// A note with all the signatures that it may have.
const NOTE_MAX: usize = 64 << 10;

/// Asks the store and the witnesses. Who cannot be reached is passed over, but for a store when there is no evidence here: then nobody
/// could say whether the log had begun already.
pub(super) async fn known(config: &Config, key: &LogKey, poster: &Poster) -> Result<Known, OpenError> {
    let (evidence, origin) = (config.data_dir.join("evidence"), config.log_origin());
    let newest = LogReader::of_records(&evidence).epochs().ok().and_then(|epochs| epochs.last().copied());
    let mut known = match Keeping::of(config)? {
        None => Known::default(),
        Some(keeping) => match tokio::time::timeout(STORE, keep::known(keeping.store(), &origin)).await {
            Ok(Ok(known)) => known,
            failed if newest.is_some() => {
                let error = failed
                    .map_or_else(|late| late.to_string(), |failed| failed.err().map_or_else(String::new, |e| e.to_string()));
                tracing::warn!(error, "the store cannot say what was kept there: the log goes on as it is here");
                Known::default()
            }
            Ok(Err(error)) => return Err(OpenError::Keep(error)),
            Err(_) => return Err(OpenError::StoreSilent(config.evidence.seal.clone())),
        },
    };
    let last = known.epochs.iter().map(|known| known.epoch).chain(newest).max().unwrap_or(1);
    for witness in &config.evidence.witnesses {
        // A witness may know an epoch that is neither here nor in the store.
        let mut epoch = last;
        while let Some(seen) = ask(witness, &origin, epoch, key, poster).await {
            known.epochs.push(seen);
            epoch = epoch.saturating_add(1);
        }
    }
    Ok(known)
}

/// The newest checkpoint of an epoch that a witness cosigned (c2sp.org/tlog-witness, `<prefix>/<hex SHA-256 of the origin>/checkpoint`).
async fn ask(witness: &WitnessConfig, origin: &str, epoch: u32, key: &LogKey, poster: &Poster) -> Option<Elsewhere> {
    let name = format!("{origin}/{epoch}");
    let (theirs, ours): (Vkey, Vkey) = (witness.vkey.parse().ok()?, key.vkey(&name, KeyKind::Ed25519)?);
    let url = format!("{}/{}/checkpoint", witness.url.trim_end_matches('/'), Digest::of(name.as_bytes()).hex());
    match poster.get(&url, NOTE_MAX, WITNESS).await {
        Ok((200, note)) => {
            let signed = SignedCheckpoint::parse(note.as_bytes())?;
            let vouched = signed.checkpoint.origin == name && signed.note.verify([&theirs, &ours]).is_ok();
            vouched.then_some(Elsewhere { epoch, checkpoint: signed.checkpoint })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(witness = theirs.name(), error, "this witness cannot say what it has seen of this log");
            None
        }
    }
}
