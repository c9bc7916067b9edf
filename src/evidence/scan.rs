//! Walking the frames of a segment file, and the chain that they must form.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::begin::Begin;
use super::frame::{self, Frame, FrameError, HEADER_LEN, Header};
use crate::values::Digest;

/// How much is read at once: many small frames a read, and few frames larger than it.
const CHUNK: usize = 1 << 20;
/// How much is read at once for headers alone: of small frames many, behind a large one no more than the next header's page.
const HEADERS: usize = 64 << 10;
const HEADER: usize = 4 << 10;
/// How near a leap comes to its frame: from there on reading is as fast as another guess.
const NEAR: u64 = 128 << 10;
const SUFFIX: &str = ".wal";

/// What the next frame of a log must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    pub(crate) log_id: Digest,
    pub(crate) epoch: u32,
    pub(crate) next_seq: u64,
    pub(crate) next_index: u64,
    pub(crate) prev: Digest,
}

impl Chain {
    /// Before the first frame of an epoch.
    pub(crate) const fn begin(log_id: Digest, epoch: u32) -> Self {
        Self { log_id, epoch, next_seq: 0, next_index: 0, prev: log_id }
    }

    /// As a frame says that precedes it; for readers that start in the middle.
    pub(crate) const fn before(header: &Header) -> Self {
        let Header { log_id, epoch, seq, first_index, prev, .. } = header;
        Self { log_id: *log_id, epoch: *epoch, next_seq: *seq, next_index: *first_index, prev: *prev }
    }

    /// Says what is wrong with a frame that is to come next.
    pub(crate) fn check(&self, header: &Header) -> Result<(), &'static str> {
        let checks = [
            (header.log_id == self.log_id, "the frame belongs to another log (its log id is not that of this origin)"),
            (header.epoch == self.epoch, "the frame belongs to another epoch"),
            (header.seq == self.next_seq, "a frame is missing or out of order (sequence number)"),
            (header.first_index == self.next_index, "records are missing or out of order (index)"),
            (header.prev == self.prev, "the frame names another predecessor (hash)"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, wrong)| Err(wrong))
    }

    /// Steps over a frame.
    pub(crate) fn advance(&mut self, header: &Header, hash: Digest) {
        self.next_seq = header.seq.saturating_add(1);
        self.next_index = header.first_index.saturating_add(u64::from(header.count));
        self.prev = hash;
    }
}

/// A segment's file name.
pub(crate) fn segment_name(first_index: u64) -> String {
    format!("{first_index:020}{SUFFIX}")
}

/// The segment files of a directory in order, each with the index in its name. Those that are kept elsewhere do not count.
pub(crate) fn segments(wal: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = all_segments(wal)?;
    if let Some(begin) = wal.parent().map_or(Ok(None), Begin::read)? {
        found.retain(|(first, _)| *first >= begin.index);
    }
    Ok(found)
}

/// As [`segments`], with those that were to be removed.
pub(super) fn all_segments(wal: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(wal)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20);
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The epochs of an evidence directory in order.
pub(crate) fn epochs(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(epoch) = name.strip_prefix("epoch-").and_then(|number| number.parse().ok()) {
            found.push((epoch, path.join("wal")));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a segment's frames in order.
pub(crate) struct Cursor {
    file: File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    base: u64,
    /// Where in the buffer the next frame begins.
    at: usize,
    /// How much is read at the next header that is not in the buffer.
    ahead: usize,
}

impl Cursor {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: Vec::new(), base: 0, at: 0, ahead: HEADER })
    }

    /// Where in the file the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.base.saturating_add(u64::try_from(self.at).unwrap_or(u64::MAX))
    }

    /// Goes to another place, forgetting what was read.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.buffer.clear();
        self.base = offset;
        self.at = 0;
    }

    /// The frame at the current place, which is not left.
    pub(crate) fn peek(&mut self) -> io::Result<Result<Frame<'_>, FrameError>> {
        self.fill(HEADER_LEN)?;
        if let Ok(header) = Header::decode(self.unread()) {
            self.fill(header.frame_len())?;
        }
        Ok(frame::decode(self.unread()))
    }

    /// The header at the current place. Its payload is not looked at.
    pub(crate) fn peek_header(&mut self) -> io::Result<Result<Header, FrameError>> {
        if self.unread().len() < HEADER_LEN {
            self.seek(self.offset());
            self.buffer = read_at(&self.file, self.base, self.ahead)?;
        }
        let header = Header::decode(self.unread());
        if let Ok(header) = &header {
            self.ahead = if header.frame_len() < HEADERS / 4 { HEADERS } else { HEADER };
        }
        Ok(header)
    }

    /// Goes to a frame that begins at or a little before this record, by looking for headers here and there instead of walking over all
    /// of them. A guess: a record could hold what looks like a header. Only for those who can tell, as a proof is checked.
    pub(crate) fn leap(&mut self, index: u64) -> io::Result<()> {
        let (mut low, mut high) = (self.offset(), self.file.metadata()?.len());
        while high.saturating_sub(low) > NEAR {
            let middle = low.midpoint(high);
            match self.next_header(middle, high)? {
                Some((at, header)) if header.first_index <= index => low = at,
                _ => high = middle,
            }
        }
        self.seek(low);
        Ok(())
    }

    /// The first header that begins in this part of the file.
    fn next_header(&self, from: u64, until: u64) -> io::Result<Option<(u64, Header)>> {
        let mut at = from;
        while at < until {
            let bytes = read_at(&self.file, at, HEADERS)?;
            let magic = |(_, bytes): &(usize, &[u8])| *bytes == frame::MAGIC;
            for (place, _) in bytes.windows(frame::MAGIC.len()).enumerate().filter(magic) {
                if let Ok(header) = Header::decode(bytes.get(place..).unwrap_or_default()) {
                    return Ok(Some((at.saturating_add(u64::try_from(place).unwrap_or(u64::MAX)), header)));
                }
            }
            // A header that the end of what was read cuts in two is found by the next read.
            let step = bytes.len().saturating_sub(HEADER_LEN);
            if bytes.len() < HEADERS || bytes.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            at = at.saturating_add(u64::try_from(step).unwrap_or(u64::MAX));
        }
        Ok(None)
    }

    /// Leaves a frame of this length behind.
    pub(crate) fn skip(&mut self, frame_len: usize) {
        let next = self.at.saturating_add(frame_len);
        if next <= self.buffer.len() {
            self.at = next;
        } else {
            self.seek(self.offset().saturating_add(u64::try_from(frame_len).unwrap_or(u64::MAX)));
        }
    }

    /// Everything from the current place to the end of the file, read afresh. Stops early where the rest was never written.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let offset = self.offset();
        let length = self.file.metadata()?.len().saturating_sub(offset);
        let near = length.min(4096 + 4096 - offset % 4096);
        let head = read_at(&self.file, offset, usize::try_from(near).unwrap_or(usize::MAX))?;
        // A preallocated segment is mostly unwritten extents; the file system knows that and need not be asked for 64 MiB of zeros.
        // What was read of them is in the page cache and counts as written, so it is the end of that which matters: read to there, and
        // the next reader finds no more of it.
        let end = self.written_until(offset.saturating_add(near)).unwrap_or(offset.saturating_add(length));
        if end == offset.saturating_add(near) {
            return Ok(head);
        }
        read_at(&self.file, offset, usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    /// Where the last written bytes from `from` on end; `from` if there are none. An error when the file system cannot tell.
    fn written_until(&self, from: u64) -> Result<u64, rustix::io::Errno> {
        use rustix::fs::{SeekFrom, seek};
        let (mut end, mut at) = (from, from);
        loop {
            match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => at = seek(&self.file, SeekFrom::Hole(data))?,
                Err(rustix::io::Errno::NXIO) => return Ok(end),
                Err(error) => return Err(error),
            }
            end = at;
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    fn fill(&mut self, needed: usize) -> io::Result<()> {
        if self.unread().len() < needed {
            self.seek(self.offset());
            self.buffer = read_at(&self.file, self.base, needed.max(CHUNK))?;
        }
        Ok(())
    }
}

/// Up to `wanted` bytes; fewer only at the end of the file.
pub(crate) fn read_at(file: &File, offset: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; wanted.min(left)];
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read_at(free, offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX))) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}
