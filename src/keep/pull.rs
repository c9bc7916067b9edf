//! Making a data directory of what is in the store: on another machine, with nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::manifest::Manifest;
use super::pieces::{self, Piece};
use super::round::Round;
use super::ship::object_name;
use super::{KeepError, Store};
use crate::evidence::merkle::Vkey;
use crate::evidence::{Disk, replace_file};
use crate::sealed;
use crate::values::Digest;

/// Files that are read at a time: enough to fill a line to a store that answers in 50 ms, with at most a piece each in memory.
const AT_ONCE: usize = 4;

/// An epoch that was read back.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its number.
    pub epoch: u32,
    /// Its records.
    pub records: u64,
    /// Who signed it. Compare this with what was told on another way.
    pub vkey: Vkey,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The logs below the store's place: whatever has an epoch with a manifest.
///
/// # Errors
/// When the store cannot be listed.
pub async fn logs(store: &Store) -> Result<Vec<String>, KeepError> {
    let listed = store.list("").await?;
    let mut found: Vec<String> = listed
        .keys()
        .filter_map(|path| {
            let (epoch, _) = path.rsplit_once("/manifest/")?;
            let (origin, epoch) = epoch.rsplit_once('/')?;
            epoch.strip_prefix("epoch-")?.parse::<u32>().ok()?;
            Some(origin.to_owned())
        })
        .collect();
    found.dedup();
    Ok(found)
}

/// The epochs of a log, in order.
///
/// # Errors
/// When the store cannot be listed.
pub async fn epochs(store: &Store, origin: &str) -> Result<Vec<u32>, KeepError> {
    let mut found: Vec<u32> =
        store.directories(origin).await?.iter().filter_map(|name| name.strip_prefix("epoch-")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// Reads a whole log back into a data directory, which must not have evidence. `progress` is told of bytes, and of how many there are.
/// What is read is as its owner signed it: the manifests are verified, and `countersign evidence verify` verifies the rest.
///
/// # Errors
/// When something is missing or is not what the manifest says.
pub async fn pull(
    store: &Store,
    origin: &str,
    data_dir: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Pulled>, KeepError> {
    let evidence = data_dir.join("evidence");
    if fs::read_dir(&evidence).is_ok_and(|mut entries| entries.next().is_some()) {
        let there =
            std::io::Error::new(std::io::ErrorKind::AlreadyExists, "there is evidence already; pull into another directory");
        return Err(KeepError::Io { path: evidence, source: there });
    }
    let listed = store.list(origin).await?;
    let total: u64 = listed.values().sum();
    let done = std::sync::atomic::AtomicU64::new(0);
    let read = |bytes: u64| {
        let so_far = done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed).saturating_add(bytes);
        progress(so_far, total);
    };
    let mut manifests = BTreeMap::new();
    for epoch in epochs(store, origin).await? {
        manifests.extend(Manifest::newest(store, origin, epoch).await?.map(|newest| (epoch, newest)));
    }
    let from = Pull { store, origin, listed: &listed, manifests: &manifests, evidence: &evidence, read: &read };
    let mut pulled = Vec::new();
    for (epoch, (manifest, vkey)) in &manifests {
        let bytes = from.epoch(*epoch, manifest, vkey).await?;
        from.kill_log(*epoch, manifest).await?;
        pulled.push(Pulled { epoch: *epoch, records: manifest.records, vkey: vkey.clone(), bytes });
    }
    for dir in ["blobs", "personal"] {
        from.files(&format!("{origin}/{dir}"), &evidence.join(dir), |pack| Some(format!("{pack}.blobs"))).await?;
    }
    if let Some((manifest, _)) = manifests.values().next_back().filter(|(newest, _)| !newest.retention.is_nothing()) {
        manifest.retention.write(&evidence)?;
    }
    settle_kill_logs(&evidence, data_dir, &pulled)?;
    Ok(pulled)
}

/// The kill log of the newest epoch is that of the data directory. An earlier one is a part of it, unless the disk was lost between
/// them: then its epoch keeps it.
fn settle_kill_logs(evidence: &Path, data_dir: &Path, pulled: &[Pulled]) -> Result<(), KeepError> {
    let dirs: Vec<PathBuf> =
        pulled.iter().map(|pulled| evidence.join(format!("epoch-{}", pulled.epoch)).join("kill")).collect();
    let Some((newest, earlier)) = dirs.split_last().filter(|(newest, _)| newest.exists()) else { return Ok(()) };
    let read = |dir: &Path| {
        let (log, key) = (dir.join("log.jws"), dir.join("key.jwk"));
        let log = fs::read(&log).map_err(KeepError::io(&log))?;
        Ok::<_, KeepError>((log, fs::read(&key).map_err(KeepError::io(&key))?))
    };
    let (orders, key) = read(newest)?;
    for dir in earlier.iter().filter(|dir| dir.exists()) {
        let (before, its_key) = read(dir)?;
        if its_key == key && orders.starts_with(&before) {
            fs::remove_dir_all(dir).map_err(KeepError::io(dir))?;
        }
    }
    fs::rename(newest, data_dir.join("kill")).map_err(KeepError::io(newest))
}

struct Pull<'a> {
    store: &'a Store,
    origin: &'a str,
    listed: &'a BTreeMap<String, u64>,
    manifests: &'a BTreeMap<u32, (Manifest, Vkey)>,
    evidence: &'a Path,
    read: &'a (dyn Fn(u64) + Sync),
}

impl Pull<'_> {
    async fn epoch(&self, epoch: u32, manifest: &Manifest, vkey: &Vkey) -> Result<u64, KeepError> {
        let (there, here) = (format!("{}/epoch-{epoch}", self.origin), self.evidence.join(format!("epoch-{epoch}")));
        let (begin, last) = (manifest.begin.as_ref().map_or(0, |begin| begin.index), manifest.wal.file);
        let segment =
            |name: &str| name.parse().is_ok_and(|first: u64| (begin..=last).contains(&first)).then(|| format!("{name}.wal"));
        let mut files = self.files(&format!("{there}/wal"), &here.join("wal"), segment).await?;
        let notes = |_: &str| Some("checkpoints".to_owned());
        files.extend(self.files(&format!("{there}/checkpoints"), &here, notes).await?);
        let reached = |name: &str| files.iter().find(|(path, _)| path.ends_with(name)).map_or(0, |(_, bytes)| *bytes);
        for (name, wanted) in
            [(format!("wal/{last:020}.wal"), manifest.wal.bytes), ("checkpoints".to_owned(), manifest.checkpoints)]
        {
            if reached(&name) < wanted {
                let what = format!("{name} has {} bytes there, and the manifest says {wanted}", reached(&name));
                return Err(self.store.damaged(&there, what));
            }
        }
        self.files(&format!("{there}/tree"), &here.join("tree"), |segment| Some(format!("{segment}.tree"))).await?;
        if let Some(parquet) = &manifest.parquet {
            self.parquet(&there, &here.join("parquet"), parquet).await?;
        }
        let io = KeepError::io(&here);
        let written = replace_file(&Disk, &here, "vkey", &format!("{vkey}\n"));
        let written = written.and_then(|()| replace_file(&Disk, &here, "checkpoint", &manifest.checkpoint));
        written.and_then(|()| manifest.begin.as_ref().map_or(Ok(()), |begin| begin.settle(&here))).map_err(io)?;
        Ok(files.iter().map(|(_, bytes)| bytes).sum())
    }

    async fn parquet(&self, there: &str, here: &Path, parquet: &sealed::Manifest) -> Result<(), KeepError> {
        let copies = parquet.files.iter().map(|listed| async move {
            self.copy(&format!("{there}/{}", object_name(listed)), &here.join(&listed.path), listed.sha256).await
        });
        stream::iter(copies).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        parquet.clone().write(here).map_err(KeepError::from)
    }

    /// The kill log that the decisions of an epoch were made under.
    async fn kill_log(&self, epoch: u32, manifest: &Manifest) -> Result<(), KeepError> {
        let there = format!("{}/epoch-{epoch}/kill", self.origin);
        let kill = self.evidence.join(format!("epoch-{epoch}")).join("kill");
        let Some(key) = &manifest.kill_key else { return Ok(()) };
        fs::create_dir_all(&kill).map_err(KeepError::io(&kill))?;
        fs::write(kill.join("key.jwk"), key).map_err(KeepError::io(&kill))?;
        let pieces = self.pieces(&there).remove("").unwrap_or_default();
        self.file(&pieces, &kill.join("log.jws")).await.map(|_| ())
    }

    /// Reads back the files below a directory; says which, and how long they are.
    async fn files(
        &self,
        there: &str,
        here: &Path,
        name: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<(PathBuf, u64)>, KeepError> {
        fs::create_dir_all(here).map_err(KeepError::io(here))?;
        let files = self.pieces(there);
        let wanted = files.iter().filter_map(|(file, pieces)| Some((pieces, here.join(name(file)?))));
        let copies = wanted.map(|(pieces, path)| async move { self.file(pieces, &path).await.map(|bytes| (path, bytes)) });
        stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn file(&self, pieces: &[Piece], path: &Path) -> Result<u64, KeepError> {
        create_parent(path)?;
        let mut file = fs::File::create(path).map_err(KeepError::io(path))?;
        let mut end = 0;
        for piece in pieces {
            let bytes = self.store.must_get(&piece.path).await?;
            if u64::try_from(bytes.len()).ok() != piece.to.checked_sub(piece.from) {
                return Err(self
                    .store
                    .damaged(&piece.path, format!("it has {} bytes, and its name says otherwise", bytes.len())));
            }
            let skipped = usize::try_from(end - piece.from.min(end)).unwrap_or(usize::MAX);
            file.write_all(bytes.get(skipped..).unwrap_or_default()).map_err(KeepError::io(path))?;
            end = piece.to;
            self.was_read(&piece.path);
        }
        file.sync_all().map_err(KeepError::io(path))?;
        Ok(end)
    }

    fn pieces(&self, there: &str) -> BTreeMap<String, Vec<Piece>> {
        let counts = |round: Round| self.manifests.get(&round.epoch).is_some_and(|(of, _)| of.rounds.contains(round.number));
        pieces::files(self.listed, there, counts)
    }

    async fn copy(&self, there: &str, here: &Path, digest: Digest) -> Result<(), KeepError> {
        create_parent(here)?;
        let bytes = self.store.must_get(there).await?;
        if Digest::of(&bytes) != digest {
            return Err(self.store.damaged(there, "it is not what its manifest says".to_owned()));
        }
        fs::write(here, &bytes).map_err(KeepError::io(here))?;
        self.was_read(there);
        Ok(())
    }

    fn was_read(&self, path: &str) {
        (self.read)(self.listed.get(path).copied().unwrap_or(0));
    }
}

fn create_parent(path: &Path) -> Result<(), KeepError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(KeepError::io(parent))
}
