//! What a start does before anything is written: find where the log ends, refuse damage, cut what an unfinished write left.

use std::path::{Path, PathBuf};

use super::begin::Begin;
use super::error::{Damage, OpenError, ReadError};
use super::frame::{self, Frame, Kind, Rest};
use super::scan::{Chain, Cursor, segments};
use super::storage::{Storage, rewrite};
use crate::values::Digest;

/// How many bytes at the end of the log are read in full on each start; of older segments only the headers are (that every frame
/// is there and in order), so that a start takes about a second however long the log is. Damage inside older payloads is found when
/// they are read, and by [`super::LogReader::verify`].
const VERIFIED_ON_OPEN: u64 = 256 << 20;

/// The remains of an unfinished write, removed on opening. Never acknowledged, so nobody relies on it; to be recorded as an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailCut {
    /// Where it was.
    pub file: PathBuf,
    /// At which offset the file now ends.
    pub offset: u64,
    /// How many bytes were removed.
    pub bytes: u64,
}

/// Where a file is to end. Nothing is cut before everything has been looked at: who refuses to open leaves all as it was.
pub(crate) struct Trim {
    path: PathBuf,
    last: u64,
    offset: u64,
    torn: Option<u64>,
}

impl Trim {
    pub(crate) fn to(path: &Path, end: &End) -> Self {
        let torn = if let Rest::Torn { bytes } = end.rest { Some(bytes) } else { None };
        Self { path: path.to_owned(), last: end.last, offset: end.offset, torn }
    }

    /// Makes it so, durably, and says what was lost. The last frame may be in the page cache alone, if the writer was killed before
    /// fdatasync returned, or died of its error; it was read, so it will be relied on: it is written again. A file in which nothing is
    /// left is removed: nothing was ever acknowledged from it, and its successor will want the name.
    pub(crate) fn apply(self, storage: &dyn Storage) -> Result<Option<TailCut>, OpenError> {
        let Self { path, last, offset, torn } = self;
        let file = storage.open(&path).map_err(OpenError::io(&path, "open"))?;
        // Even if it looks that long: who cut it before may have heard of an error.
        file.truncate(offset).map_err(OpenError::io(&path, "truncate"))?;
        rewrite(file.as_ref(), &path, last, offset).map_err(OpenError::io(&path, "write to"))?;
        file.fsync().map_err(OpenError::io(&path, "fsync"))?;
        if offset == 0 {
            storage.remove(&path).map_err(OpenError::io(&path, "remove"))?;
            let dir = path.parent().unwrap_or(Path::new("."));
            storage.fsync_dir(dir).map_err(OpenError::io(dir, "fsync"))?;
        }
        Ok(torn.map(|bytes| TailCut { file: path, offset, bytes }))
    }
}

/// Where the log ends.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    /// Of the last segment.
    pub(crate) trim: Option<Trim>,
    /// The last frame is the mark of an orderly close.
    pub(crate) closed: bool,
}

/// How closely a segment is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Headers,
    Full,
}

/// Where the valid frames of a segment end, and what follows them.
pub(crate) struct End {
    /// Where the last valid frame begins.
    pub(crate) last: u64,
    pub(crate) offset: u64,
    pub(crate) rest: Rest,
    /// What the next bytes were refused for, when they are not just zeros.
    pub(crate) reason: String,
}

/// Walks a segment, moving `chain` over each valid frame. Stops at the first that is not, or that is not the next in the chain.
pub(crate) fn walk(path: &Path, chain: &mut Chain, depth: Depth, each: &mut dyn FnMut(&Frame<'_>)) -> Result<End, ReadError> {
    let mut cursor = Cursor::open(path).map_err(ReadError::io(path))?;
    if depth == Depth::Headers {
        skip_by_headers(&mut cursor, chain).map_err(ReadError::io(path))?;
    }
    let mut last = cursor.offset();
    loop {
        let offset = cursor.offset();
        let wrong = match cursor.peek().map_err(ReadError::io(path))? {
            Ok(frame) => match chain.check(&frame.header) {
                Ok(()) => {
                    chain.advance(&frame.header, frame.hash());
                    each(&frame);
                    let length = frame.header.frame_len();
                    cursor.skip(length);
                    last = offset;
                    continue;
                }
                // A whole, undamaged frame that does not belong here: nothing that a crash leaves behind.
                Err(wrong) => return Ok(End { last, offset, rest: Rest::Damaged { later: None }, reason: wrong.to_owned() }),
            },
            Err(wrong) => wrong,
        };
        let rest = cursor.rest().map_err(ReadError::io(path))?;
        let rest = frame::classify(&rest, offset, chain.next_seq, &chain.log_id);
        let reason = match rest {
            Rest::Damaged { later: Some(later) } => {
                format!("{wrong}, and a valid frame follows at byte {}", offset.saturating_add(later))
            }
            Rest::Damaged { later: None } => format!("{wrong}, and this is not what an unfinished write looks like"),
            Rest::Torn { .. } | Rest::Clean => wrong.to_string(),
        };
        return Ok(End { last, offset, rest, reason });
    }
}

/// Moves over frames by their headers alone, up to the last, which the caller then reads in full: its hash is needed.
fn skip_by_headers(cursor: &mut Cursor, chain: &mut Chain) -> std::io::Result<()> {
    let mut last: Option<(u64, Chain)> = None;
    while let Ok(header) = cursor.peek_header()? {
        let mut here = chain.clone();
        if last.is_some() {
            here.prev = header.prev;
        }
        if here.check(&header).is_err() {
            break;
        }
        last = Some((cursor.offset(), here.clone()));
        here.advance(&header, Digest::from_bytes([0; 32]));
        *chain = here;
        cursor.skip(header.frame_len());
    }
    if let Some((offset, before)) = last {
        cursor.seek(offset);
        *chain = before;
    }
    Ok(())
}

/// Reads the epoch's segments. Changes nothing.
pub(crate) fn recover(wal: &Path, log_id: Digest, epoch: u32) -> Result<Recovered, OpenError> {
    recover_reading(wal, log_id, epoch, VERIFIED_ON_OPEN)
}

/// As `recover`, reading so many bytes at the end in full.
pub(crate) fn recover_reading(wal: &Path, log_id: Digest, epoch: u32, verified: u64) -> Result<Recovered, OpenError> {
    let mut files = Vec::new();
    let mut after: u64 = 0;
    for (first, path) in segments(wal).map_err(OpenError::io(wal, "list"))? {
        let size = std::fs::metadata(&path).map_err(OpenError::io(&path, "look at"))?.len();
        after = after.saturating_add(size);
        files.push((first, path, size));
    }
    let mut chain = match files.first() {
        // It begins with a later record: `segments` gives only what `begin.json` lets count.
        Some((first, path, _)) if *first > 0 && is_begin(wal, *first).map_err(OpenError::io(wal, "look at"))? => {
            let chain = Begin::chain(path, Some(log_id), epoch).map_err(OpenError::io(path, "read"))?;
            chain.unwrap_or(Chain::begin(log_id, epoch))
        }
        _ => Chain::begin(log_id, epoch),
    };
    let mut closed = false;
    let mut trim = None;
    let last = files.len().saturating_sub(1);
    for (at, (first, path, size)) in files.into_iter().enumerate() {
        after = after.saturating_sub(size);
        let depth = if at == last || after < verified { Depth::Full } else { Depth::Headers };
        let mut note = |frame: &Frame<'_>| closed = frame.header.kind == Kind::Closed;
        let end = walk_named(&path, first, &mut chain, depth, &mut note)?;
        let sound = match end.rest {
            // Only the last may be empty or end in the midst of a frame: its successor was begun when all of it was durable.
            Rest::Clean => at == last || end.offset > 0,
            Rest::Torn { .. } => at == last,
            Rest::Damaged { .. } => false,
        };
        if !sound {
            return Err(damage(&path, &end, &chain).into());
        }
        trim = Some(Trim::to(&path, &end));
    }
    Ok(Recovered { chain, trim, closed })
}

/// Whether the epoch begins with this record here, because those before are kept elsewhere.
pub(super) fn is_begin(wal: &Path, first: u64) -> std::io::Result<bool> {
    let begin = wal.parent().map_or(Ok(None), Begin::read)?;
    Ok(begin.is_some_and(|begin| begin.index == first))
}

/// Walks a segment whose name says where it begins.
pub(crate) fn walk_named(
    path: &Path,
    first: u64,
    chain: &mut Chain,
    depth: Depth,
    each: &mut dyn FnMut(&Frame<'_>),
) -> Result<End, ReadError> {
    if first != chain.next_index {
        let reason = format!("the segment begins at record {first}; the one before it ends before {}", chain.next_index);
        let damage = Damage { file: path.into(), offset: 0, epoch: chain.epoch, index: chain.next_index, reason };
        return Err(damage.into());
    }
    walk(path, chain, depth, each)
}

pub(crate) fn damage(path: &Path, end: &End, chain: &Chain) -> Damage {
    let reason = if end.rest == Rest::Clean {
        "frames are missing at the end of a segment that has a successor".to_owned()
    } else {
        end.reason.clone()
    };
    Damage { file: path.into(), offset: end.offset, epoch: chain.epoch, index: chain.next_index, reason }
}
