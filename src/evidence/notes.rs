//! The signed checkpoints of an epoch, on disk: `checkpoints` has all of them, one after the other, each followed by an empty line;
//! `checkpoint` is the newest, with the cosignatures that it got meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::{Damage, ReadError};
use super::merkle::{Checkpoint, Note, Vkey, VkeyError};
use super::storage::{Disk, Storage as _};

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
    let mut offset = 0;
    while let Some(end) = next_end(&text, offset) {
        let note = text.get(offset..end).and_then(SignedCheckpoint::parse);
        let note = note.ok_or_else(|| damage(&path, epoch, offset, "this is not a signed checkpoint"))?;
        take(note);
        offset = end.saturating_add(1);
    }
    match is_unfinished(text.get(offset..).unwrap_or_default()) {
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
    // Blocks from the end: text, signatures, and perhaps the remains of a write. The file's beginning, or an empty line, begins a text.
    let mut starts: Vec<usize> =
        tail.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n").map(|(at, _)| at + 2).collect();
    if from == 0 {
        starts.insert(0, 0);
    }
    let read = |start: usize| {
        let end = next_end(&tail, start)?;
        Some((SignedCheckpoint::parse(tail.get(start..end)?)?, end.saturating_add(1)))
    };
    let found = starts.into_iter().rev().find_map(read);
    let end = found.as_ref().map_or(0, |(_, end)| *end);
    if (found.is_none() && from > 0) || !is_unfinished(tail.get(end..).unwrap_or_default()) {
        return Err(damage(
            &path,
            epoch,
            usize::try_from(from).unwrap_or(0).saturating_add(end),
            "this is not a signed checkpoint",
        ));
    }
    Ok(found.map(|(note, end)| (note, from.saturating_add(u64::try_from(end).unwrap_or(u64::MAX)))))
}

/// Whether bytes are the remains of a note that was never written to its end, and so never shown to anybody. A whole one ends in an
/// empty line; its text, which ends in one too, has four lines up to there.
fn is_unfinished(bytes: &[u8]) -> bool {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let used = bytes.get(..used).unwrap_or_default();
    !used.ends_with(b"\n\n") || used.iter().filter(|byte| **byte == b'\n').count() <= 4
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
    replace(evidence, epoch, "checkpoint.witnessed", &kept.note.to_string()).map_err(ReadError::io(evidence))
}

/// Appends to `checkpoints`.
pub(crate) struct Notes {
    evidence: PathBuf,
    epoch: u32,
    file: File,
    end: u64,
}

impl Notes {
    /// Opens the file; what lies behind `end` was never finished and is cut. Writes down the key, for whoever reads this directory.
    pub(crate) fn open(evidence: &Path, epoch: u32, end: u64, vkey: &Vkey) -> io::Result<Self> {
        replace(evidence, epoch, "vkey", &format!("{vkey}\n"))?;
        let path = path(evidence, epoch, "checkpoints");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path)?;
        file.set_len(end)?;
        file.sync_all()?;
        Disk.fsync_dir(path.parent().unwrap_or(evidence))?;
        Ok(Self { evidence: evidence.to_owned(), epoch, file, end })
    }

    /// Makes a checkpoint durable. Only then may anybody see it.
    pub(crate) fn append(&mut self, note: &Note) -> io::Result<()> {
        let bytes = format!("{note}\n");
        self.file.write_all_at(bytes.as_bytes(), self.end)?;
        self.file.sync_data()?;
        self.end = self.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        replace(&self.evidence, self.epoch, "checkpoint", &note.to_string())
    }
}

fn replace(evidence: &Path, epoch: u32, name: &str, text: &str) -> io::Result<()> {
    replace_file(&evidence.join(format!("epoch-{epoch}")), name, text)
}

/// Puts a text in the place of another, whole or not at all, and durably.
pub(crate) fn replace_file(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&draft, dir.join(name))?;
    Disk.fsync_dir(dir)
}
