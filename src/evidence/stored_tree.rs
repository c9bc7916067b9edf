//! The hashes of the tree that are stored, and reading all others from the records.
//!
//! `epoch-<n>/tree/<segment>.tree`, one file for 65,536 records: the hashes of its 256 subtrees of 256 records (one full tile of
//! level 1, as c2sp.org/tlog-tiles has it), then the hash of the whole segment, then of each larger subtree that ends with it. So any
//! complete subtree of 65,536 records or more is one read, a smaller one is made from one file or from at most 256 records, and
//! nothing is ever rewritten. 0.13 bytes a record. Hashes of single records are not stored: they are made from the records.
//!
//! The files hold nothing that the records do not say. They are believed as far as they lead to a signed root, and are made again
//! from the records where they are missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::batch::lock;
use super::error::{Damage, ReadError};
use super::merkle::{Frontier, Node, Nodes, Tile, TileKind, parent};
use super::read::LogReader;
use super::storage::{Storage, StorageFile, create_dirs, open_or_create, write_all};
use crate::values::Digest;

/// Levels of the binary tree: a tile, and a segment.
const TILE_LEVEL: u8 = 8;
/// Records of a tile.
const TILE: usize = 256;
const SEGMENT_LEVEL: u8 = 16;
/// Where the hash of the whole segment is in its file.
const SEGMENT_AT: u64 = 256 * HASH;
const HASH: u64 = 32;

pub(super) fn tree_dir(evidence: &Path, epoch: u32) -> PathBuf {
    evidence.join(format!("epoch-{epoch}")).join("tree")
}

/// Where a stored hash is: the segment's number, and the place in its file. `None` when it is not stored.
fn place(node: Node) -> Option<(u64, u64)> {
    match node.level {
        TILE_LEVEL => Some((node.index >> 8, (node.index & 255) * HASH)),
        level @ SEGMENT_LEVEL.. => {
            let up = u64::from(level.saturating_sub(SEGMENT_LEVEL));
            let segment = (node.index.checked_add(1)?.checked_shl(u32::try_from(up).ok()?)?).checked_sub(1)?;
            Some((segment, SEGMENT_AT.saturating_add(up.saturating_mul(HASH))))
        }
        _ => None,
    }
}

/// Writes stored hashes.
pub(crate) struct TreeFiles {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    open: Option<(u64, Box<dyn StorageFile>)>,
}

impl TreeFiles {
    /// Opens the directory and forgets what lies beyond so many records: nothing was signed that rests on it, and after a power cut it
    /// may be zeros.
    pub(crate) fn open(storage: &Arc<dyn Storage>, evidence: &Path, epoch: u32, size: u64) -> io::Result<Self> {
        let dir = tree_dir(evidence, epoch);
        create_dirs(storage.as_ref(), &dir)?;
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            let Some(segment) = number.filter(|segment| *segment >= size >> SEGMENT_LEVEL) else { continue };
            let kept = if segment == size >> SEGMENT_LEVEL { ((size & 0xffff) >> TILE_LEVEL) * HASH } else { 0 };
            if std::fs::metadata(&path)?.len() > kept {
                storage.open(&path)?.truncate(kept)?;
            }
        }
        Ok(Self { storage: Arc::clone(storage), dir, open: None })
    }

    /// Stores the hash of a complete subtree, if it is one that is stored. Durable after [`Self::sync`].
    pub(crate) fn store(&mut self, node: Node, hash: &Digest) -> io::Result<()> {
        let Some((segment, at)) = place(node) else { return Ok(()) };
        let file = match self.open.take() {
            Some((open, file)) if open == segment => file,
            before => {
                if let Some((_, file)) = before {
                    file.fdatasync()?;
                }
                let file = open_or_create(self.storage.as_ref(), &self.dir.join(format!("{segment:012}.tree")))?;
                self.storage.fsync_dir(&self.dir)?;
                file
            }
        };
        write_all(file.as_ref(), hash.as_bytes(), at)?;
        self.open = Some((segment, file));
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, file)| file.fdatasync())
    }
}

/// A stored hash and where it is.
pub(super) struct Stored {
    pub(super) hash: Digest,
    pub(super) file: PathBuf,
    pub(super) offset: u64,
}

/// The hash of a complete subtree, if it is one that is stored and is there.
pub(super) fn stored(tree_dir: &Path, node: Node) -> Result<Option<Stored>, ReadError> {
    let Some((segment, offset)) = place(node) else { return Ok(None) };
    let file = tree_dir.join(format!("{segment:012}.tree"));
    let mut bytes = [0; 32];
    match File::open(&file).and_then(|open| open.read_exact_at(&mut bytes, offset)) {
        // A hole, or what a power cut left: no hash is all zeros.
        Ok(()) => Ok((bytes != [0; 32]).then(|| Stored { hash: Digest::from_bytes(bytes), file, offset })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
        Err(error) => Err(ReadError::io(file)(error)),
    }
}

/// The tree of one epoch, from stored hashes and records. The hashes of records that are not durable yet may be among those it gives;
/// ask only for what a checkpoint covers.
#[derive(Debug)]
pub struct TreeReader<'r> {
    reader: &'r LogReader,
    epoch: u32,
    dir: Option<PathBuf>,
    /// The hashes of records of the tile that was read last: a proof asks for up to eight nodes of one.
    leaves: Mutex<(u64, Vec<Digest>)>,
}

impl<'r> TreeReader<'r> {
    /// Of an epoch of a log.
    #[must_use]
    pub fn new(reader: &'r LogReader, epoch: u32) -> Self {
        Self { dir: Some(tree_dir(reader.dir(), epoch)), reader, epoch, leaves: Mutex::default() }
    }

    /// From the records alone: for when the stored hashes are in doubt.
    #[must_use]
    pub fn from_records(reader: &'r LogReader, epoch: u32) -> Self {
        Self { dir: None, reader, epoch, leaves: Mutex::default() }
    }

    /// The bytes of a tile: hashes, or records each behind its length (c2sp.org/tlog-tiles).
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn tile(&self, tile: &Tile) -> Result<Vec<u8>, ReadError> {
        let begin = tile.index.saturating_mul(super::merkle::TILE);
        let end = begin.saturating_add(u64::from(tile.width));
        let mut bytes = Vec::new();
        match tile.kind {
            TileKind::Entries => self.each_record(begin, end, |record| {
                bytes.extend_from_slice(&u16::try_from(record.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend_from_slice(record);
            })?,
            TileKind::Hashes(0) => {
                self.each_record(begin, end, |record| bytes.extend_from_slice(Digest::leaf(record).as_bytes()))?;
            }
            TileKind::Hashes(level) => {
                for index in begin..end {
                    bytes.extend_from_slice(self.node(Node { level: level.saturating_mul(8), index })?.as_bytes());
                }
            }
        }
        Ok(bytes)
    }

    fn stored(&self, node: Node) -> Result<Option<Digest>, ReadError> {
        match &self.dir {
            Some(dir) => Ok(stored(dir, node)?.map(|found| found.hash)),
            None => Ok(None),
        }
    }

    /// The hashes of these records, which are all in one tile. The whole tile is read, as far as it is there.
    fn each_leaf(&self, begin: u64, end: u64, mut take: impl FnMut(&Digest)) -> Result<(), ReadError> {
        let first = begin >> TILE_LEVEL << TILE_LEVEL;
        let place = |index: u64| usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut held = lock(&self.leaves);
        let (tile, leaves) = &mut *held;
        if *tile != first || leaves.len() < place(end) {
            (*tile, *leaves) = (first, Vec::new());
            for record in self.reader.records(self.epoch, first)?.take(TILE) {
                // What cannot be read behind the wanted ones is the next reader's.
                let Ok(record) = record else { break };
                if (record.epoch, place(record.index)) != (self.epoch, leaves.len()) {
                    break;
                }
                leaves.push(Digest::leaf(&record.bytes));
            }
        }
        match leaves.get(place(begin)..place(end)) {
            Some(wanted) => wanted.iter().for_each(&mut take),
            // Says what is wrong with them, or finds those that came meanwhile.
            None => self.each_record(begin, end, |record| take(&Digest::leaf(record)))?,
        }
        Ok(())
    }

    fn each_record(&self, begin: u64, end: u64, mut take: impl FnMut(&[u8])) -> Result<(), ReadError> {
        let mut records = self.reader.records(self.epoch, begin)?;
        for index in begin..end {
            let record = records.next().transpose()?;
            let record = record.filter(|record| (record.epoch, record.index) == (self.epoch, index));
            let Some(record) = record else {
                let (file, reason) = (self.reader.dir().to_owned(), "the log ends before this record".to_owned());
                return Err(Damage { file, offset: 0, epoch: self.epoch, index, reason }.into());
            };
            take(&record.bytes);
        }
        Ok(())
    }
}

impl Nodes for TreeReader<'_> {
    type Error = ReadError;

    fn node(&self, node: Node) -> Result<Digest, ReadError> {
        if let Some(hash) = self.stored(node)? {
            return Ok(hash);
        }
        if node.level > TILE_LEVEL {
            let (level, index) = (node.level.saturating_sub(1), node.index.saturating_mul(2));
            let (left, right) = (Node { level, index }, Node { level, index: index.saturating_add(1) });
            return Ok(parent(&self.node(left)?, &self.node(right)?));
        }
        let (begin, count) = (node.index << node.level, 1_u64 << node.level);
        let mut subtree = Frontier::default();
        self.each_leaf(begin, begin.saturating_add(count), |leaf| subtree.push(*leaf))?;
        Ok(subtree.root())
    }
}
