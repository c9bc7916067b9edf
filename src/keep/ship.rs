//! Sending what is new to the store, the manifest last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{Extent, Manifest};
use super::round::{Round, claim_path};
use super::{KeepError, Store, epochs, pieces};
use crate::evidence::begin::Begin;
use crate::evidence::extent::{self, Whole};
use crate::evidence::merkle::{KeyKind, Vkey};
use crate::evidence::personal::{self, Day};
use crate::evidence::{LogReader, SignedCheckpoint, notes};
use crate::publisher::keys::log::LogKey;
use crate::retention::State;
use crate::sealed::{self, Listed};

/// Bytes of a segment of the tree that is complete: 256 hashes of tiles and at least the segment's own.
const TREE_SEGMENT: u64 = 257 * 32;
/// How many manifests are left behind the newest, for whoever is reading one of them just now.
const MANIFESTS_LEFT: u64 = 16;

/// Sends one epoch of a log to the store.
pub struct Shipper {
    store: Store,
    data_dir: PathBuf,
    origin: String,
    epoch: u32,
    key: Arc<LogKey>,
    vkey: Vkey,
    /// Nobody else has it.
    id: String,
    /// The next round of this process.
    round: Round,
    /// What is there.
    last: Manifest,
    /// How many bytes of values of each day were sent.
    personal: BTreeMap<Day, u64>,
}

impl Shipper {
    /// Looks up how far the epoch is there. A process that keeps the same epoch will stop when this one has sent something.
    ///
    /// # Errors
    /// When the store cannot be read, and when the epoch that is there was signed with another key.
    pub async fn open(store: Store, data_dir: &Path, origin: &str, epoch: u32, key: Arc<LogKey>) -> Result<Self, KeepError> {
        let name = format!("{origin}/{epoch}");
        let vkey = key.vkey(&name, KeyKind::Ed25519);
        let vkey =
            vkey.ok_or_else(|| KeepError::Url { url: name.clone(), rule: "it cannot be the name of a log".to_owned() })?;
        let last = match Manifest::newest(&store, origin, epoch).await? {
            Some((manifest, signer)) if signer == vkey => manifest,
            Some(_) => {
                return Err(KeepError::Taken { store: store.url().to_owned(), path: format!("{origin}/epoch-{epoch}/vkey") });
            }
            None => Manifest { pack: packs_before(&store, data_dir, origin, epoch).await?, ..Manifest::nothing(&name) },
        };
        let round = Round::free(&store, origin, epoch).await?;
        let (id, personal) = (uuid::Uuid::now_v7().to_string(), BTreeMap::new());
        Ok(Self {
            store,
            data_dir: data_dir.to_owned(),
            origin: origin.to_owned(),
            epoch,
            key,
            vkey,
            id,
            round,
            last,
            personal,
        })
    }

    /// What is there.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.last
    }

    /// Whether the writer has left a segment that is not there in full.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn has_left_a_segment(&self) -> Result<bool, KeepError> {
        Ok(LogReader::of_records(self.data_dir.join("evidence")).left_behind(self.epoch)? > self.last.records)
    }

    /// Sends what is new. Nothing counts before the manifest. After an error, open another one: what came of the last put is not known.
    ///
    /// # Errors
    /// [`KeepError::Taken`] when another process keeps this epoch; all others may pass.
    pub async fn ship(&mut self) -> Result<bool, KeepError> {
        let evidence = self.data_dir.join("evidence");
        let Some((signed, notes_end)) = notes::last(&evidence, self.epoch)? else { return Ok(false) };
        let parquet = sealed::Manifest::read(&self.local("parquet"))?;
        let begin = Begin::retired(&self.local("")).map_err(KeepError::io(&evidence))?;
        let retention = State::read(&evidence)?;
        let grown = signed.checkpoint.size > self.last.records || parquet != self.last.parquet;
        if !grown && begin == self.last.begin && retention == self.last.retention {
            return Ok(false);
        }
        self.round.claim(&self.store, &self.origin, &self.id).await?;
        let mut next = Manifest { number: self.round.number, ..self.last.clone() };
        next.rounds.push(self.round.number);
        (next.begin, next.retention) = (begin, retention);
        self.store.create(&self.at("vkey"), format!("{}\n", self.vkey).into_bytes()).await?;
        if signed.checkpoint.size > self.last.records {
            self.ship_log(&evidence, &signed, notes_end, &mut next).await?;
        }
        if let Some(parquet) = parquet.filter(|parquet| Some(parquet) != self.last.parquet.as_ref()) {
            self.ship_parquet(&parquet).await?;
            next.parquet = Some(parquet);
        }
        let note = next.sign(&self.key, &self.vkey).map_err(|error| KeepError::io(&evidence)(error.into()))?;
        self.store.create(&self.under(&Manifest::path(self.epoch, next.number)), note.into_bytes()).await?;
        let before = std::mem::replace(&mut self.last, next);
        self.round = self.round.next();
        self.tidy_up(&before).await;
        self.delete_retired(&before).await?;
        Ok(true)
    }

    /// Records first, then what they name: blobs and orders that a record names are on this disk before it is.
    async fn ship_log(
        &mut self,
        evidence: &Path,
        signed: &SignedCheckpoint,
        notes_end: u64,
        next: &mut Manifest,
    ) -> Result<(), KeepError> {
        let size = signed.checkpoint.size;
        let segments = extent::covered(evidence, self.epoch, self.last.wal.file, size)?;
        next.wal = self.ship_files(&self.at("wal"), &segments, self.last.wal, |number| format!("{number:020}")).await?;
        let notes = self.local("checkpoints");
        pieces::put(&self.store, self.round, &self.at("checkpoints"), &notes, self.last.checkpoints, notes_end).await?;
        next.checkpoints = notes_end;
        next.checkpoint = signed.note.to_string();
        next.records = size;
        next.trees = self.ship_trees(size >> 16).await?;
        let packs = extent::durable_packs(&evidence.join("blobs"), self.last.pack.file)?;
        next.pack = self.ship_files(&self.under("blobs"), &packs, self.last.pack, |number| format!("pack-{number:08}")).await?;
        (next.kill, next.kill_key) = self.ship_kill_log().await?;
        self.ship_personal(evidence).await
    }

    /// Values that can be erased are in no manifest: what was erased is not missing.
    async fn ship_personal(&mut self, evidence: &Path) -> Result<(), KeepError> {
        for day in personal::days(evidence)? {
            let dir = personal::day_dir(evidence, day);
            if self.personal.get(&day) == Some(&length_of(&dir)?) {
                continue;
            }
            let place = self.under(&format!("personal/{day}"));
            let counts = |round: Round| round.epoch == self.epoch && self.last.rounds.contains(round.number);
            let there = pieces::files(&self.store.list(&place).await?, &place, counts);
            let packs = extent::durable_packs(&dir, 0)?;
            for pack in &packs {
                let name = format!("pack-{:08}", pack.number);
                let from = there.get(&name).and_then(|pieces| pieces.last()).map_or(0, |piece| piece.to);
                pieces::put(&self.store, self.round, &format!("{place}/{name}"), &pack.path, from, pack.bytes).await?;
            }
            self.personal.insert(day, packs.iter().map(|pack| pack.bytes).sum());
        }
        Ok(())
    }

    async fn ship_files(
        &self,
        dir: &str,
        files: &[Whole],
        there: Extent,
        name: impl Fn(u64) -> String,
    ) -> Result<Extent, KeepError> {
        let mut reached = there;
        for file in files {
            let from = if file.number == there.file { there.bytes } else { 0 };
            pieces::put(&self.store, self.round, &format!("{dir}/{}", name(file.number)), &file.path, from, file.bytes).await?;
            reached = Extent { file: file.number, bytes: file.bytes.max(from) };
        }
        Ok(reached)
    }

    /// The segments of the tree that are complete. They are made again where they are missing, so that one that is not whole yet is
    /// left for the next round.
    async fn ship_trees(&self, complete: u64) -> Result<u64, KeepError> {
        for segment in self.last.trees..complete {
            let file = self.local("tree").join(format!("{segment:012}.tree"));
            let length = std::fs::metadata(&file).map_err(KeepError::io(&file))?.len();
            if length < TREE_SEGMENT {
                return Ok(segment);
            }
            pieces::put(&self.store, self.round, &self.at(&format!("tree/{segment:012}")), &file, 0, length).await?;
        }
        Ok(complete)
    }

    async fn ship_kill_log(&self) -> Result<(u64, Option<String>), KeepError> {
        let kill = self.data_dir.join("kill");
        let (log, key) = (kill.join("log.jws"), kill.join("key.jwk"));
        let length = match std::fs::File::open(&log) {
            // An order that is here only in memory could be another one after a power cut.
            Ok(file) => file.sync_data().and_then(|()| file.metadata()).map_err(KeepError::io(&log))?.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((self.last.kill, self.last.kill_key.clone()));
            }
            Err(error) => return Err(KeepError::io(&log)(error)),
        };
        let whole = whole_lines(&log, self.last.kill, length)?;
        pieces::put(&self.store, self.round, &self.at("kill"), &log, self.last.kill, whole).await?;
        let key = std::fs::read_to_string(&key).map_err(KeepError::io(&key))?;
        Ok((whole, Some(key)))
    }

    async fn ship_parquet(&self, parquet: &sealed::Manifest) -> Result<(), KeepError> {
        let there = self.last.parquet.iter().flat_map(|manifest| &manifest.files);
        let there: Vec<&Listed> = there.collect();
        for listed in parquet.files.iter().filter(|listed| !there.contains(listed)) {
            let file = self.local("parquet").join(&listed.path);
            self.store.create_from(&self.at(&object_name(listed)), &file).await?;
        }
        Ok(())
    }

    /// Removes the values of days before one. A store that keeps what it has refuses; then it keeps addresses too.
    ///
    /// # Errors
    /// When the store cannot be listed, or refuses.
    pub async fn erase_personal(&self, before: Day) -> Result<(), KeepError> {
        for name in self.store.directories(&self.under("personal")).await? {
            if Day::parse(&name).is_some_and(|day| day < before) {
                let gone = self.store.list(&self.under(&format!("personal/{name}"))).await?;
                if let Some(error) = self.store.remove(gone.into_keys().collect()).await.pop() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes the segments that were deleted here, now that no manifest counts them. A store that keeps what it has refuses; what it
    /// keeps then is for its own rules to delete.
    async fn delete_retired(&self, before: &Manifest) -> Result<(), KeepError> {
        let Some(begin) = self.last.begin.as_ref().filter(|begin| Some(*begin) != before.begin.as_ref()) else { return Ok(()) };
        let wal = self.at("wal");
        let first_of = |path: &str| path.strip_prefix(&wal)?.strip_prefix('/')?.split('/').next()?.parse::<u64>().ok();
        let there = self.store.list(&wal).await?;
        let gone = there.into_keys().filter(|path| first_of(path).is_some_and(|first| first < begin.index)).collect();
        for error in self.store.remove(gone).await {
            tracing::warn!(%error, "deleted records are left in the store");
        }
        Ok(())
    }

    /// Removes what the manifest before named and this one does not. What cannot be removed does no harm.
    async fn tidy_up(&self, before: &Manifest) {
        let names = |manifest: &Manifest| -> Vec<String> {
            manifest.parquet.iter().flat_map(|parquet| &parquet.files).map(object_name).collect()
        };
        let now = names(&self.last);
        let mut gone: Vec<String> =
            names(before).into_iter().filter(|name| !now.contains(name)).map(|name| self.at(&name)).collect();
        if let Some(old) = self.last.number.checked_sub(MANIFESTS_LEFT) {
            let round = Round { epoch: self.epoch, number: old };
            gone.extend([self.under(&Manifest::path(self.epoch, old)), claim_path(&self.origin, round)]);
        }
        for error in self.store.remove(gone).await {
            tracing::warn!(%error, "left in the store");
        }
    }

    fn local(&self, name: &str) -> PathBuf {
        self.data_dir.join("evidence").join(format!("epoch-{}", self.epoch)).join(name)
    }

    fn at(&self, name: &str) -> String {
        format!("{}/epoch-{}/{name}", self.origin, self.epoch)
    }

    fn under(&self, name: &str) -> String {
        format!("{}/{name}", self.origin)
    }
}

/// How far the packs are there that an earlier epoch sent from this disk. From another disk, none of them is here.
async fn packs_before(store: &Store, data_dir: &Path, origin: &str, epoch: u32) -> Result<Extent, KeepError> {
    let earlier = epochs(store, origin).await?.into_iter().rfind(|earlier| *earlier < epoch);
    let Some(earlier) = earlier else { return Ok(Extent::default()) };
    let pack = Manifest::newest(store, origin, earlier).await?.map_or(Extent::default(), |(manifest, _)| manifest.pack);
    let path = extent::pack(&data_dir.join("evidence").join("blobs"), pack.file);
    let here = path.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|file| file.len() >= pack.bytes);
    Ok(if here { pack } else { Extent::default() })
}

/// What a Parquet file is called in the store: with its digest, because a file of the same rows may be made again with other bytes.
pub(super) fn object_name(listed: &Listed) -> String {
    let stem = listed.path.strip_suffix(".parquet").unwrap_or(&listed.path);
    let digest = listed.sha256.hex();
    format!("parquet/{stem}.{}.parquet", digest.get(..16).unwrap_or(&digest))
}

/// How many bytes the files of a directory have.
fn length_of(dir: &Path) -> Result<u64, KeepError> {
    let length = || std::fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum::<std::io::Result<u64>>();
    length().map_err(KeepError::io(dir))
}

/// Where the last line ends that is whole.
fn whole_lines(path: &Path, from: u64, length: u64) -> Result<u64, KeepError> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(0)];
    std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut bytes, from)).map_err(KeepError::io(path))?;
    let lines = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    Ok(from.saturating_add(u64::try_from(lines).unwrap_or(0)))
}
