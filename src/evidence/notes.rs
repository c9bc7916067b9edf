//! The signed checkpoints of an epoch, on disk: `checkpoints` has all of them, one after the other, each followed by an empty line;
//! `checkpoint` is the newest, with the cosignatures that it got meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Damage, ReadError};
use super::frame::has_hole;
use super::merkle::{Checkpoint, Note, Vkey, VkeyError};
use super::storage::{Disk, Storage, StorageFile, open_or_create, replace_file, rewrite, write_all};

/// How much of the end of `checkpoints` is read to find the last: more than one note of ours, which has one signature.
const TAIL: u64 = 4096;
/// The longest note that is read.
const NOTE_MAX: u64 = 512 << 10;

/// A checkpoint with its signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCheckpoint {
    /// What was signed, read.
    pub checkpoint: Checkpoint,
    /// As it was signed.
    pub note: Note,
}

impl SignedCheckpoint {
    /// Reads one. Nothing is verified.
    #[must_use]
    pub fn parse(note: &[u8]) -> Option<Self> {
        let note = Note::parse(note).ok()?;
        Some(Self { checkpoint: Checkpoint::parse(note.text()).ok()?, note })
    }
}

fn path(evidence: &Path, epoch: u32, name: &str) -> PathBuf {
    evidence.join(format!("epoch-{epoch}")).join(name)
}

/// All checkpoints that were signed in an epoch, oldest first, given out one by one. Bytes at the end that no empty line closes are
/// the remains of a write that never finished.
///
/// # Errors
/// When the file cannot be read, and at the first thing that is no checkpoint, which is damage.
pub fn all(evidence: &Path, epoch: u32, mut take: impl FnMut(SignedCheckpoint)) -> Result<(), ReadError> {
    let path = path(evidence, epoch, "checkpoints");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ReadError::io(path)(error)),
    };
    let (mut offset, mut origin) = (0, String::new());
    while let Some((note, next)) = note_at(&text, offset) {
        origin.clone_from(&note.checkpoint.origin);
        take(note);
        offset = next;
    }
    let rest = text.get(offset..).unwrap_or_default();
    // Each note was durable before the next was begun.
    let begins = |at: &usize| !origin.is_empty() && rest.get(*at..).is_some_and(|rest| rest.starts_with(origin.as_bytes()));
    let goes_on = (1..rest.len()).filter(begins).any(|at| note_at(rest, at).is_some());
    match !goes_on && is_unfinished(rest, u64::try_from(offset).unwrap_or(u64::MAX)) {
        true => Ok(()),
        false => Err(damage(&path, epoch, offset, "this is not a signed checkpoint")),
    }
}

/// The public key of an epoch, as whoever signs wrote it down.
///
/// # Errors
/// When it cannot be read or is none.
pub fn vkey(evidence: &Path, epoch: u32) -> Result<Option<Vkey>, ReadError> {
    let path = path(evidence, epoch, "vkey");
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim_end().parse().map(Some).map_err(|error: VkeyError| damage(&path, epoch, 0, &error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError::io(path)(error)),
    }
}

/// Where the note that begins here ends: before the empty line behind its signatures, which is the second of the block.
fn next_end(text: &[u8], from: usize) -> Option<usize> {
    let empty_line = |from: usize| {
        let rest = text.get(from..)?;
        rest.windows(2).position(|pair| pair == b"\n\n").map(|at| from.saturating_add(at))
    };
    let body = empty_line(from)?;
    Some(empty_line(body.saturating_add(2))?.saturating_add(1))
}

/// The note that begins here, and where the next would.
fn note_at(text: &[u8], from: usize) -> Option<(SignedCheckpoint, usize)> {
    let end = next_end(text, from)?;
    Some((SignedCheckpoint::parse(text.get(from..end)?)?, end.saturating_add(1)))
}

fn damage(path: &Path, epoch: u32, offset: usize, reason: &str) -> ReadError {
    let offset = u64::try_from(offset).unwrap_or(u64::MAX);
    Damage { file: path.to_owned(), offset, epoch, index: 0, reason: reason.to_owned() }.into()
}

/// The last checkpoint that was signed in an epoch, and where the file ends after it.
pub(crate) fn last(evidence: &Path, epoch: u32) -> Result<Option<(SignedCheckpoint, u64)>, ReadError> {
    let path = path(evidence, epoch, "checkpoints");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::io(path)(error)),
    };
    let length = file.metadata().map_err(ReadError::io(&path))?.len();
    let from = length.saturating_sub(TAIL);
    let tail = super::scan::read_at(&file, from, usize::try_from(TAIL).unwrap_or(0)).map_err(ReadError::io(&path))?;
    // From the end: the remains of a write perhaps, then a whole note. The file's beginning begins one as well.
    let empty_lines = tail.windows(2).enumerate().rev().filter(|(_, pair)| *pair == b"\n\n");
    let starts = empty_lines.map(|(at, _)| at.saturating_add(2)).chain((from == 0).then_some(0));
    let found = starts.filter_map(|start| note_at(&tail, start)).next();
    let end = found.as_ref().map_or(0, |(_, end)| *end);
    let ends_at = from.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
    if (found.is_none() && from > 0) || !is_unfinished(tail.get(end..).unwrap_or_default(), ends_at) {
        let offset = usize::try_from(ends_at).unwrap_or(usize::MAX);
        return Err(damage(&path, epoch, offset, "this is not a signed checkpoint"));
    }
    Ok(found.map(|(note, _)| (note, ends_at)))
}

/// Whether bytes, which begin at this offset of the file, are the remains of a note that was never written to its end, and so never
/// shown to anybody. A whole one ends in an empty line; its text, which ends in one too, has four lines up to there. Or a whole sector
/// of it was not written.
fn is_unfinished(bytes: &[u8], at: u64) -> bool {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let used = bytes.get(..used).unwrap_or_default();
    !used.ends_with(b"\n\n") || used.iter().filter(|byte| **byte == b'\n').count() <= 4 || has_hole(used, at)
}

/// The newest checkpoint of an epoch, with its cosignatures.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn newest(evidence: &Path, epoch: u32) -> Result<Option<SignedCheckpoint>, ReadError> {
    read(path(evidence, epoch, "checkpoint"), epoch)
}

fn read(path: PathBuf, epoch: u32) -> Result<Option<SignedCheckpoint>, ReadError> {
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::io(path)(error)),
        Ok(metadata) if metadata.len() > NOTE_MAX => return Err(damage(&path, epoch, 0, "it is too long for a checkpoint")),
        Ok(_) => {}
    }
    let text = std::fs::read(&path).map_err(ReadError::io(&path))?;
    SignedCheckpoint::parse(&text).map(Some).ok_or_else(|| damage(&path, epoch, 0, "this is not a signed checkpoint"))
}

/// The newest checkpoint that witnesses cosigned, if it covers a record; else the newest.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn covering(evidence: &Path, epoch: u32, index: u64) -> Result<Option<SignedCheckpoint>, ReadError> {
    match cosigned(evidence, epoch)?.filter(|cosigned| cosigned.checkpoint.size > index) {
        Some(cosigned) => Ok(Some(cosigned)),
        None => newest(evidence, epoch),
    }
}

/// The newest checkpoint that a witness cosigned.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn cosigned(evidence: &Path, epoch: u32) -> Result<Option<SignedCheckpoint>, ReadError> {
    read(path(evidence, epoch, "checkpoint.witnessed"), epoch)
}

/// Keeps a checkpoint with its cosignatures, unless there is a newer one; with those that it has already, if it is the same.
pub(crate) fn keep_cosigned(evidence: &Path, epoch: u32, new: &SignedCheckpoint) -> Result<(), ReadError> {
    // Several witnesses answer at once, each on its own task.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = super::batch::lock(&TURN);
    let mut kept = new.clone();
    if let Some(before) = cosigned(evidence, epoch)? {
        if before.checkpoint.size > new.checkpoint.size {
            return Ok(());
        }
        if before.checkpoint == new.checkpoint {
            before.note.signatures().iter().for_each(|signature| kept.note.add(signature.clone()));
        }
    }
    let dir = evidence.join(format!("epoch-{epoch}"));
    replace_file(&Disk, &dir, "checkpoint.witnessed", &kept.note.to_string()).map_err(ReadError::io(evidence))
}

/// Appends to `checkpoints`.
pub(crate) struct Notes {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    file: Box<dyn StorageFile>,
    end: u64,
}

impl Notes {
    /// Opens the file; what lies behind `end` was never finished and is cut. Writes down the key, for whoever reads this directory.
    pub(crate) fn open(storage: &Arc<dyn Storage>, evidence: &Path, epoch: u32, end: u64, vkey: &Vkey) -> io::Result<Self> {
        let (storage, dir) = (Arc::clone(storage), evidence.join(format!("epoch-{epoch}")));
        replace_file(storage.as_ref(), &dir, "vkey", &format!("{vkey}\n"))?;
        let path = dir.join("checkpoints");
        let file = open_or_create(storage.as_ref(), &path)?;
        file.truncate(end)?;
        rewrite(file.as_ref(), &path, end.saturating_sub(TAIL), end)?;
        file.fsync()?;
        storage.fsync_dir(&dir)?;
        Ok(Self { storage, dir, file, end })
    }

    /// Makes a checkpoint durable. Only then may anybody see it.
    pub(crate) fn append(&mut self, note: &Note) -> io::Result<()> {
        let bytes = format!("{note}\n");
        write_all(self.file.as_ref(), bytes.as_bytes(), self.end)?;
        self.file.fdatasync()?;
        self.end = self.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        replace_file(self.storage.as_ref(), &self.dir, "checkpoint", &note.to_string())
    }
}
