//! What the store knows of a log, for its start.

use super::{KeepError, Manifest, Store, epochs};
use crate::evidence::Elsewhere;

/// What is in the store of a log.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The newest checkpoint of each epoch.
    pub epochs: Vec<Elsewhere>,
    /// The first number that no pack of blobs has there.
    pub next_pack: u32,
}

/// Reads what the store has of a log.
///
/// # Errors
/// When it cannot be read.
pub async fn known(store: &Store, origin: &str) -> Result<Known, KeepError> {
    let mut known = Known::default();
    for epoch in epochs(store, origin).await? {
        let Some((manifest, _)) = Manifest::newest(store, origin, epoch).await? else { continue };
        let after = manifest.pack.file.saturating_add(u64::from(manifest.pack.bytes > 0));
        known.next_pack = known.next_pack.max(u32::try_from(after).unwrap_or(u32::MAX));
        known.epochs.extend(manifest.signed_checkpoint().map(|signed| Elsewhere { epoch, checkpoint: signed.checkpoint }));
    }
    Ok(known)
}
