//! Input documents, request shapes and rules by their SHA-256, so that a record can name them in 32 bytes and a replay finds the
//! very bytes that were judged.
//!
//! They are appended to packs, `blobs/pack-<n>.blobs`, which are files of frames like the log's own and recovered by the same rules.
//! A pack is written and made durable *before* the frame whose records name its blobs, so no durable record ever names a blob that is
//! not there. (The other way round may happen: a crash in between leaves a blob that nobody names.)

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{AppendError, Damage, OpenError, ReadError};
use super::frame::{self, BLOB_HEADER_LEN, HEADER_LEN, Rest, StoredBlob};
use super::personal::Day;
use super::recover::{self, Depth, Trim};
use super::scan::{Chain, Cursor, read_at};
use crate::values::Digest;

/// The largest blob, uncompressed: ten thousand policies, or the largest inputs that any fetch may bring in (CRLs and status lists
/// have their own stores). It bounds what a pack can make a reader allocate.
pub const MAX_BLOB: usize = 4 << 20;
/// The largest blob as stored: a frame holds it whole.
const MAX_STORED: usize = 1 << 20;
/// zstd's own default: twice as fast as level 6 for a few per cent more bytes on JSON of some kilobytes.
const LEVEL: i32 = 3;

/// Bytes to be kept, and their name.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Their SHA-256.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

impl Blob {
    /// Whether these bytes can be kept as a blob.
    #[must_use]
    pub fn can_hold(bytes: &[u8]) -> bool {
        let compressed = || zstd::bulk::compress(bytes, LEVEL).is_ok_and(|stored| stored.len() <= MAX_STORED);
        bytes.len() <= MAX_STORED || (bytes.len() <= MAX_BLOB && compressed())
    }
}

/// A blob on its way to a pack.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) digest: Digest,
    length: u32,
    stored: Vec<u8>,
    /// Of a value that may be erased: the day whose packs it belongs to.
    pub(crate) day: Option<Day>,
}

impl Packed {
    /// As [`Self::new`], of a value that may be erased.
    pub(crate) fn personal(day: Day, blob: &Blob) -> Result<Self, AppendError> {
        Ok(Self { day: Some(day), ..Self::new(blob)? })
    }

    /// Checks and compresses. Done by the appender, not by the writer thread, which everybody waits for.
    pub(crate) fn new(blob: &Blob) -> Result<Self, AppendError> {
        let bytes = blob.bytes.len();
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_BLOB).ok_or(AppendError::BlobTooLarge { bytes })?;
        if Digest::of(&blob.bytes) != blob.digest {
            return Err(AppendError::BlobMismatch);
        }
        // Compressing into memory fails only for want of memory; then the blob is kept as it is, as one is that would grow.
        let smaller = zstd::bulk::compress(&blob.bytes, LEVEL).ok().filter(|stored| stored.len() < bytes);
        let stored = smaller.unwrap_or_else(|| blob.bytes.to_vec());
        if stored.len() > MAX_STORED {
            return Err(AppendError::BlobTooLarge { bytes });
        }
        Ok(Self { digest: blob.digest, length, stored, day: None })
    }

    pub(crate) const fn stored_len(&self) -> usize {
        self.stored.len() + BLOB_HEADER_LEN
    }

    pub(crate) fn as_stored(&self) -> StoredBlob<'_> {
        StoredBlob { digest: self.digest, length: self.length, stored: &self.stored }
    }
}

/// Where a blob's stored bytes are.
#[derive(Clone, Copy, Debug)]
struct Place {
    pack: u32,
    offset: u64,
    length: u32,
    stored: u32,
}

/// The packs of a directory and where each blob is in them.
#[derive(Debug)]
pub(crate) struct BlobStore {
    dir: PathBuf,
    index: RwLock<HashMap<Digest, Place>>,
}

/// The log id of packs: a frame of a pack is never valid in a log, nor the other way round.
pub(crate) fn pack_log_id() -> Digest {
    Digest::of(b"countersign blob pack")
}

pub(crate) fn pack_path(dir: &Path, pack: u32) -> PathBuf {
    dir.join(format!("pack-{pack:08}.blobs"))
}

pub(super) fn packs(dir: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("pack-")?.strip_suffix(".blobs"));
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

impl BlobStore {
    /// Opens the packs for a writer. Reads the last one in full; says where that is to end, and which number the next pack gets.
    pub(crate) fn recover(dir: &Path) -> Result<(Self, Option<Trim>, u32), OpenError> {
        let store = Self::unread(dir);
        let numbers = packs(dir).map_err(OpenError::io(dir, "list"))?;
        let Some((last, older)) = numbers.split_last() else { return Ok((store, None, 0)) };
        for pack in older {
            store.index_headers(*pack)?;
        }
        let path = pack_path(dir, *last);
        let (chain, end) = store.index_fully(*last)?;
        if let Rest::Damaged { .. } = end.rest {
            return Err(blob_damage(recover::damage(&path, &end, &chain)).into());
        }
        // An empty one is removed, and its name is free again.
        let next = if end.offset == 0 { *last } else { last.saturating_add(1) };
        Ok((store, Some(Trim::to(&path, &end)), next))
    }

    /// Opens the packs for a reader, changing nothing; a writer may be running.
    pub(crate) fn read_only(dir: &Path) -> Result<Self, ReadError> {
        let store = Self::unread(dir);
        store.refresh()?;
        Ok(store)
    }

    /// All blobs of a directory, checked against their digests. What an unfinished write left behind the last is no blob.
    pub(crate) fn every(dir: &Path) -> Result<HashMap<Digest, Vec<u8>>, ReadError> {
        let store = Self { dir: dir.to_owned(), index: RwLock::default() };
        for pack in packs(dir).map_err(ReadError::io(dir))? {
            let (chain, end) = store.index_fully(pack)?;
            if let Rest::Damaged { .. } = end.rest {
                return Err(blob_damage(recover::damage(&pack_path(dir, pack), &end, &chain)).into());
            }
        }
        let digests: Vec<Digest> = store.read().keys().copied().collect();
        let read = |digest: Digest| Ok(store.get(&digest)?.map(|bytes| (digest, bytes)));
        digests.into_iter().filter_map(|digest| read(digest).transpose()).collect()
    }

    /// As `read_only`, but nothing is looked for before the first blob is asked for.
    pub(crate) fn unread(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), index: RwLock::default() }
    }

    /// Without any blobs.
    pub(crate) fn none() -> Self {
        Self { dir: PathBuf::new(), index: RwLock::default() }
    }

    fn refresh(&self) -> Result<(), ReadError> {
        let numbers = if self.dir.is_dir() { packs(&self.dir).map_err(ReadError::io(&self.dir))? } else { Vec::new() };
        let Some((last, older)) = numbers.split_last() else { return Ok(()) };
        for pack in older {
            self.index_headers(*pack)?;
        }
        self.index_fully(*last).map(|_| ())
    }

    /// Reads every pack in full. Says how many blobs there are.
    pub(crate) fn verify(&self) -> Result<u64, ReadError> {
        self.refresh()?;
        let numbers = if self.dir.is_dir() { packs(&self.dir).map_err(ReadError::io(&self.dir))? } else { Vec::new() };
        for (at, pack) in numbers.iter().enumerate() {
            let (chain, end) = self.index_fully(*pack)?;
            let sound = match end.rest {
                Rest::Clean => true,
                Rest::Torn { .. } => at.saturating_add(1) == numbers.len(),
                Rest::Damaged { .. } => false,
            };
            if !sound {
                return Err(blob_damage(recover::damage(&pack_path(&self.dir, *pack), &end, &chain)).into());
            }
        }
        let digests: Vec<_> = self.read().keys().copied().collect();
        for digest in &digests {
            self.get(digest)?;
        }
        Ok(u64::try_from(digests.len()).unwrap_or(u64::MAX))
    }

    fn index_fully(&self, pack: u32) -> Result<(Chain, recover::End), ReadError> {
        let mut chain = Chain::begin(pack_log_id(), pack);
        let mut frame_at: u64 = 0;
        let end = recover::walk(&pack_path(&self.dir, pack), &mut chain, Depth::Full, &mut |frame| {
            self.insert(pack, frame_at, frame.blobs());
            frame_at = frame_at.saturating_add(u64::try_from(frame.header.frame_len()).unwrap_or(u64::MAX));
        })?;
        Ok((chain, end))
    }

    /// Indexes the blobs of a frame that is durable.
    pub(crate) fn insert<'a>(&self, pack: u32, frame_at: u64, blobs: impl Iterator<Item = StoredBlob<'a>>) {
        let mut offset = frame_at.saturating_add(u64::try_from(HEADER_LEN).unwrap_or(u64::MAX));
        let header = u64::try_from(BLOB_HEADER_LEN).unwrap_or(u64::MAX);
        let mut index = self.write();
        for StoredBlob { digest, length, stored } in blobs {
            let stored = u32::try_from(stored.len()).unwrap_or(u32::MAX);
            offset = offset.saturating_add(header);
            index.entry(digest).or_insert(Place { pack, offset, length, stored });
            offset = offset.saturating_add(u64::from(stored));
        }
    }

    /// Indexes a pack that has a successor, hence was read in full when that was begun, without reading the blobs themselves.
    fn index_headers(&self, pack: u32) -> Result<(), ReadError> {
        let path = pack_path(&self.dir, pack);
        let mut cursor = Cursor::open(&path).map_err(ReadError::io(&path))?;
        let file = File::open(&path).map_err(ReadError::io(&path))?;
        let length = file.metadata().map_err(ReadError::io(&path))?.len();
        let mut chain = Chain::begin(pack_log_id(), pack);
        while cursor.offset() < length {
            let at = cursor.offset();
            let damaged =
                |reason: &str| Damage { file: path.clone(), offset: at, epoch: 0, index: 0, reason: reason.to_owned() };
            let header = cursor.peek_header().map_err(ReadError::io(&path))?.map_err(|wrong| damaged(&wrong.to_string()))?;
            chain.prev = header.prev;
            chain.check(&header).map_err(damaged)?;
            chain.advance(&header, header.prev);
            let mut offset = at.saturating_add(u64::try_from(HEADER_LEN).unwrap_or(u64::MAX));
            for _ in 0..header.count {
                let bytes = read_at(&file, offset, BLOB_HEADER_LEN).map_err(ReadError::io(&path))?;
                let (digest, length, stored) = frame::blob_header(&bytes).map_err(|wrong| damaged(&wrong.to_string()))?;
                offset = offset.saturating_add(u64::try_from(BLOB_HEADER_LEN).unwrap_or(u64::MAX));
                self.write().entry(digest).or_insert(Place { pack, offset, length, stored });
                offset = offset.saturating_add(u64::from(stored));
            }
            cursor.skip(header.frame_len());
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Digest, Place>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Digest, Place>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the blob is durable.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.read().contains_key(digest)
    }

    /// The blob's bytes, checked against its digest.
    pub(crate) fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(place) = self.read().get(digest).copied() else { return Ok(None) };
        let path = pack_path(&self.dir, place.pack);
        let file = File::open(&path).map_err(ReadError::io(&path))?;
        // Both lengths come from the pack: neither may make us allocate more than the largest blob needs.
        let bound = |length: u32| usize::try_from(length).unwrap_or(usize::MAX).min(MAX_BLOB);
        let stored = read_at(&file, place.offset, bound(place.stored)).map_err(ReadError::io(&path))?;
        let bytes =
            if place.stored == place.length { Some(stored) } else { zstd::bulk::decompress(&stored, bound(place.length)).ok() };
        match bytes.filter(|bytes| Digest::of(bytes) == *digest) {
            Some(bytes) => Ok(Some(bytes)),
            None => {
                let reason = format!("the blob stored here is not {digest}");
                Err(Damage { file: path, offset: place.offset, epoch: 0, index: 0, reason }.into())
            }
        }
    }

    /// As `get`; looks for packs that a running writer has added since.
    pub(crate) fn get_fresh(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.contains(digest) {
            self.refresh()?;
        }
        self.get(digest)
    }
}

fn blob_damage(damage: Damage) -> Damage {
    Damage { epoch: 0, index: 0, ..damage }
}
