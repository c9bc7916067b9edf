//! Auditing a log: everything is read, and compared with everything that was signed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::begin::Begin;
use super::error::{Damage, ReadError};
use super::frame::{Frame, Kind, Rest};
use super::merkle::{Frontier, Node, Vkey};
use super::notes::{self, SignedCheckpoint};
use super::read::{BETWEEN_LOOKS, LOOKS, LogReader};
use super::recover::{self, Depth};
use super::scan::{Chain, Cursor, segments};
use super::stored_tree::{stored, tree_dir};
use crate::values::Digest;

/// What an audit of the whole log found to be sound.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Each epoch that has records, in order.
    pub epochs: Vec<EpochAudit>,
    /// How many blobs there are, values that can be erased among them, all of them with the right digest.
    pub blobs: u64,
}

/// An audited epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochAudit {
    /// Its number.
    pub epoch: u32,
    /// SHA-256 of the origin of the log; to be compared with the one that is expected.
    pub log_id: Digest,
    /// How many records, from index 0 without a gap.
    pub records: u64,
    /// The first that is here; those before are kept elsewhere, and are verified where they are.
    pub begin: u64,
    /// How many frames, in one unbroken chain.
    pub frames: u64,
    /// The bytes of an unfinished frame at the end: a writer at work, or one that was killed.
    pub unfinished: u64,
    /// Whether the last frame is the mark of an orderly close.
    pub closed: bool,
    /// How many checkpoints were signed for it. Each one's signature holds, and the records lead to its root, up to `contradiction`.
    pub checkpoints: u64,
    /// How many of the records the last of them covers.
    pub signed: u64,
    /// The first thing that was signed and is not so. The log has another end, or other records, than was said before: rolled back,
    /// cut off, or exchanged.
    pub contradiction: Option<String>,
}

/// How far an audit has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The epoch being read.
    pub epoch: u32,
    /// Records read so far in all epochs.
    pub records: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes in all, preallocated ones included.
    pub total_bytes: u64,
}

impl LogReader {
    /// Audits everything: each frame's checksums, the chain of hashes, that every index is there, the tree with its stored hashes and
    /// every checkpoint that was signed for it, each blob's digest.
    ///
    /// # Errors
    /// The first damage, with its place; or when something cannot be read. What was signed and is not so is in the audit.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Audit, ReadError> {
        let wals = self.wals()?;
        let mut audit = Audit::default();
        let mut total_bytes: u64 = 0;
        for (_, wal) in &wals {
            for (_, path) in segments(wal).map_err(ReadError::io(wal))? {
                total_bytes = total_bytes.saturating_add(std::fs::metadata(&path).map_or(0, |metadata| metadata.len()));
            }
        }
        let mut so_far = Progress { epoch: 0, records: 0, bytes: 0, total_bytes };
        for (epoch, wal) in wals {
            so_far.epoch = epoch;
            let signed = Signed::read(self.dir(), epoch)?;
            audit.epochs.extend(verify_epoch(&wal, &signed, &mut so_far, progress)?);
        }
        audit.blobs = self.blobs.verify()?.saturating_add(super::personal::verify(self.dir())?);
        Ok(audit)
    }
}

/// What was signed for an epoch, oldest first.
struct Signed {
    tree_dir: PathBuf,
    checkpoints: Vec<SignedCheckpoint>,
    /// The first that cannot be what the log's key signed.
    invalid: Option<String>,
}

impl Signed {
    fn read(evidence: &Path, epoch: u32) -> Result<Self, ReadError> {
        let key: Option<Vkey> = notes::vkey(evidence, epoch)?;
        let mut signed = Self { tree_dir: tree_dir(evidence, epoch), checkpoints: Vec::new(), invalid: None };
        let mut size = 0;
        notes::all(evidence, epoch, |next| {
            let wrong = match &key {
                None => Some("the key is not there (`vkey`)".to_owned()),
                Some(key) if next.checkpoint.origin != key.name() => Some("it is for another log".to_owned()),
                Some(key) => next.note.verify([key]).err().map(|error| error.to_string()),
            };
            let wrong = wrong
                .or_else(|| (next.checkpoint.size < size).then(|| "it covers fewer records than the one before".to_owned()));
            if let (Some(wrong), None) = (wrong, &signed.invalid) {
                signed.invalid = Some(format!("the checkpoint for {} records: {wrong}", next.checkpoint.size));
            }
            size = next.checkpoint.size;
            signed.checkpoints.push(next);
        })?;
        for (name, shown) in
            [("checkpoint", notes::newest(evidence, epoch)?), ("checkpoint.witnessed", notes::cosigned(evidence, epoch)?)]
        {
            let wrong = shown.and_then(|shown| signed.wrong_with(&shown, key.as_ref()));
            if let (Some(wrong), None) = (wrong, &signed.invalid) {
                signed.invalid = Some(format!("the file `{name}`: {wrong}"));
            }
        }
        Ok(signed)
    }

    /// What is wrong with a checkpoint that is shown to others.
    fn wrong_with(&self, shown: &SignedCheckpoint, key: Option<&Vkey>) -> Option<String> {
        if let Err(error) = shown.note.verify(key) {
            return Some(error.to_string());
        }
        // A writer at work may have signed it since the others were read.
        let newer = shown.checkpoint.size > self.size();
        let listed = self.checkpoints.iter().any(|signed| signed.checkpoint == shown.checkpoint);
        (!newer && !listed).then(|| "it is none of those in `checkpoints`".to_owned())
    }

    /// How many records the last one covers.
    fn size(&self) -> u64 {
        self.checkpoints.last().map_or(0, |last| last.checkpoint.size)
    }
}

/// The tree as far as it was made again, and the checkpoints that it was compared with.
#[derive(Clone, Default)]
struct Tree {
    frontier: Frontier,
    compared: usize,
    wrong: Option<String>,
    damage: Option<Damage>,
}

impl Tree {
    fn grow(&mut self, frame: &Frame<'_>, signed: &Signed) {
        for record in frame.records() {
            let damage = &mut self.damage;
            self.frontier.push_telling(Digest::leaf(record), |node, hash| {
                if damage.is_none() {
                    *damage = damaged_hash(signed, frame.header.epoch, node, hash);
                }
            });
            self.compare(signed);
        }
    }

    fn compare(&mut self, signed: &Signed) {
        while let Some(next) = signed.checkpoints.get(self.compared).filter(|next| next.checkpoint.size <= self.frontier.size())
        {
            if self.wrong.is_none() && self.frontier.root() != next.checkpoint.root {
                let size = next.checkpoint.size;
                self.wrong = Some(format!("the first {size} records are not those that a checkpoint was signed for"));
            }
            self.compared = self.compared.saturating_add(1);
        }
    }

    fn contradiction(self, signed: &Signed) -> Option<String> {
        let missing = signed.checkpoints.get(self.compared).map(|next| {
            let (size, found) = (next.checkpoint.size, self.frontier.size());
            format!("a checkpoint was signed for {size} records, and there are {found}")
        });
        self.wrong.or(missing).or_else(|| signed.invalid.clone())
    }
}

/// What is wrong with the stored hash of a subtree that a checkpoint covers.
fn damaged_hash(signed: &Signed, epoch: u32, node: Node, hash: Digest) -> Option<Damage> {
    let (index, end) = (node.index << node.level, node.index.saturating_add(1) << node.level);
    if end > signed.size() {
        return None;
    }
    let (file, offset, reason) = match stored(&signed.tree_dir, node) {
        Ok(Some(found)) if found.hash != hash => {
            (found.file, found.offset, "the hash stored here is not that of the records".to_owned())
        }
        Ok(_) => return None,
        Err(error) => (signed.tree_dir.clone(), 0, error.to_string()),
    };
    Some(Damage { file, offset, epoch, index, reason })
}

/// What an epoch's audit begins with.
struct Beginning {
    begin: u64,
    chain: Chain,
    tree: Tree,
}

impl Beginning {
    /// `None` when there is nothing to audit.
    fn of(wal: &Path, files: &VecDeque<(u64, PathBuf)>, signed: &Signed, epoch: u32) -> Result<Option<Self>, ReadError> {
        let begin = wal.parent().map_or(Ok(None), Begin::read).map_err(ReadError::io(wal))?;
        let first = match files.front() {
            Some((_, path)) => Chain::begin(log_id_of(path)?, epoch),
            None if signed.checkpoints.is_empty() => return Ok(None),
            None => Chain::begin(Digest::from_bytes([0; 32]), epoch),
        };
        let Some((begin, (_, path))) = begin.zip(files.front()).filter(|(begin, (first, _))| begin.index == *first) else {
            return Ok(Some(Self { begin: 0, chain: first, tree: Tree::default() }));
        };
        let chain = Begin::chain(path, None, epoch).map_err(ReadError::io(path))?.unwrap_or(first);
        // Checkpoints of less are compared where the records are. The later ones show that this tree is the right one.
        let compared = signed.checkpoints.iter().take_while(|signed| signed.checkpoint.size < begin.index).count();
        let tree = Tree { frontier: begin.frontier(), compared, ..Tree::default() };
        Ok(Some(Self { begin: begin.index, chain, tree }))
    }
}

fn verify_epoch(
    wal: &Path,
    signed: &Signed,
    so_far: &mut Progress,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<EpochAudit>, ReadError> {
    let mut files: VecDeque<(u64, PathBuf)> = segments(wal).map_err(ReadError::io(wal))?.into();
    let Some(Beginning { begin, mut chain, mut tree }) = Beginning::of(wal, &files, signed, so_far.epoch)? else {
        return Ok(None);
    };
    let mut closed = false;
    tree.compare(signed);
    // How often the same place was looked at: a writer at work leaves others behind it.
    let (mut looks, mut looked_at) = (0, None);
    let mut unfinished = 0;
    while let Some((first, path)) = files.front().cloned() {
        let before = (chain.clone(), *so_far, tree.clone());
        let mut each = |frame: &Frame<'_>| {
            closed = frame.header.kind == Kind::Closed;
            tree.grow(frame, signed);
            so_far.records = so_far.records.saturating_add(u64::from(frame.header.count));
            so_far.bytes = so_far.bytes.saturating_add(u64::try_from(frame.header.frame_len()).unwrap_or(u64::MAX));
            progress(*so_far);
        };
        let end = recover::walk_named(&path, first, &mut chain, Depth::Full, &mut each)?;
        let successors = segments(wal).map_err(ReadError::io(wal))?.into_iter().filter(|(later, _)| *later > first);
        files = successors.collect();
        let sound = match end.rest {
            Rest::Clean => files.front().is_none_or(|(next, _)| *next == chain.next_index),
            Rest::Torn { .. } => files.is_empty(),
            Rest::Damaged { .. } => false,
        };
        if sound {
            unfinished = if let Rest::Torn { bytes } = end.rest { bytes } else { 0 };
            continue;
        }
        looks = if looked_at == Some((first, end.offset)) { looks + 1 } else { 1 };
        looked_at = Some((first, end.offset));
        if looks == LOOKS {
            return Err(recover::damage(&path, &end, &chain).into());
        }
        (chain, *so_far, tree) = before;
        if chain.next_seq == 0 {
            // The first frame was written since it was looked for.
            chain = Chain::begin(log_id_of(&path)?, so_far.epoch);
        }
        files.push_front((first, path));
        std::thread::sleep(BETWEEN_LOOKS);
    }
    if let Some(damage) = tree.damage.take() {
        return Err(damage.into());
    }
    let Chain { epoch, log_id, next_index: records, next_seq: frames, .. } = chain;
    let checkpoints = u64::try_from(signed.checkpoints.len()).unwrap_or(u64::MAX);
    let covered = signed.size();
    let contradiction = tree.contradiction(signed);
    let audit =
        EpochAudit { epoch, log_id, records, begin, frames, unfinished, closed, checkpoints, signed: covered, contradiction };
    Ok((frames > 0 || unfinished > 0 || checkpoints > 0).then_some(audit))
}

/// Whose log it is, only its first frame says. Without one there is nothing that would pass for a record.
fn log_id_of(first_segment: &Path) -> Result<Digest, ReadError> {
    let header = Cursor::open(first_segment).and_then(|mut cursor| cursor.peek_header());
    Ok(header.map_err(ReadError::io(first_segment))?.map_or(Digest::from_bytes([0; 32]), |header| header.log_id))
}
