//! Where a log is gone on with: in its last epoch, if that is what was signed and published, else in another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::OpenError;
use super::merkle::Checkpoint;
use super::notary::{Gap, Origin};
use super::recover::{self, Recovered};
use super::scan::epochs;
use super::storage::{Storage, create_dirs};
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// What was published of an epoch: a witness or an object store has seen it, so that a directory that was rolled back is noticed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elsewhere {
    /// The epoch.
    pub epoch: u32,
    /// Its newest checkpoint there.
    pub checkpoint: Checkpoint,
}

/// Where a log is gone on with.
pub(super) struct Place {
    pub(super) epoch: u32,
    pub(super) wal: PathBuf,
    pub(super) recovered: Recovered,
    pub(super) tree: Option<Origin>,
    pub(super) gap: Option<Gap>,
}

/// Finds the end of the last epoch. When that contradicts what was signed for it, here or as it is known elsewhere, it stays as it is,
/// and another begins.
pub(super) fn find_place(
    storage: &dyn Storage,
    dir: &Path,
    origin: &str,
    key: Option<&Arc<LogKey>>,
    elsewhere: &[Elsewhere],
) -> Result<Place, OpenError> {
    let recover = |epoch: u32| {
        let wal = dir.join(format!("epoch-{epoch}")).join("wal");
        create_dirs(storage, &wal).map_err(OpenError::io(&wal, "create"))?;
        let recovered = recover::recover(&wal, Digest::of(origin.as_bytes()), epoch)?;
        Ok::<_, OpenError>((wal, recovered))
    };
    let compare = |epoch: u32, recovered: &Recovered| match key {
        None => Ok(Ok(None)),
        Some(key) => {
            let size = recovered.chain.next_index;
            Origin::find(dir, &format!("{origin}/{epoch}"), epoch, size, key, elsewhere).map(|found| found.map(Some))
        }
    };
    let here = epochs(dir).map_err(OpenError::io(dir, "list"))?.last().map_or(1, |(epoch, _)| *epoch);
    // The newest epoch may not be on this disk at all.
    let last = elsewhere.iter().map(|known| known.epoch).fold(here, u32::max);
    if last > here {
        let known = elsewhere.iter().filter(|known| known.epoch == last).max_by_key(|known| known.checkpoint.size);
        let reason = "the epoch that was published elsewhere is not here";
        let gap = known.map(|known| Gap { epoch: last, found: 0, known: known.checkpoint.clone(), reason });
        return begin_another(last, gap, &recover, &compare);
    }
    let (wal, recovered) = recover(here)?;
    match compare(here, &recovered)? {
        Ok(tree) => {
            // An epoch that was begun for a gap and has no record yet still has to say why.
            let before = here.saturating_sub(1);
            let gap = match recovered.chain.next_seq == 0 && before > 0 {
                true => compare(before, &recover(before)?.1)?.err(),
                false => None,
            };
            Ok(Place { epoch: here, wal, recovered, tree, gap })
        }
        Err(gap) => begin_another(here, Some(gap), &recover, &compare),
    }
}

type Compared = Result<Option<Origin>, Gap>;

fn begin_another(
    after: u32,
    gap: Option<Gap>,
    recover: &dyn Fn(u32) -> Result<(PathBuf, Recovered), OpenError>,
    compare: &dyn Fn(u32, &Recovered) -> Result<Compared, OpenError>,
) -> Result<Place, OpenError> {
    tracing::error!(?gap, "this is not the log that was signed; another epoch begins");
    let epoch = after.saturating_add(1);
    let (wal, recovered) = recover(epoch)?;
    let tree = compare(epoch, &recovered)?.ok().flatten();
    Ok(Place { epoch, wal, recovered, tree, gap })
}
