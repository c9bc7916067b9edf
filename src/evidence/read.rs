//! Reading the log, in this or another process, while a writer may be running. Takes no lock and changes nothing.
//!
//! A reader sees whole, valid frames only. It may see a frame a moment before that is durable: who needs more than what is *there*
//! needs the receipt.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::batch::lock;
use super::begin::Begin;
use super::blobs::BlobStore;
use super::error::{Damage, ReadError};
use super::frame::{Header, Rest};
use super::personal::{Day, PersonalReader, SALT};
use super::recover::{self, End};
use super::scan::{Chain, Cursor, epochs, segments};
use crate::values::Digest;

/// One place in memory for so many bytes of a segment: what is read in vain before a record's own frame.
const SPARSE: u64 = 64 << 10;
/// How often a reader looks again before it believes in damage: the writer may have been in the midst of a frame, or may have
/// begun a new segment between two looks.
pub(super) const LOOKS: u32 = 5;
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A record and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The epoch; indexes begin at 0 in each.
    pub epoch: u32,
    /// The record's index in its epoch.
    pub index: u64,
    /// The bytes that were appended.
    pub bytes: Vec<u8>,
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    pub(super) blobs: BlobStore,
    personal: PersonalReader,
    places: Mutex<HashMap<PathBuf, Places>>,
    /// Frames are guessed at. See [`Self::leaping`].
    leaps: bool,
}

/// Where some of the frames of a segment begin.
#[derive(Clone, Debug, Default)]
struct Places {
    marks: Vec<(u64, u64)>,
    /// The next frame that has not been looked at.
    index: u64,
    offset: u64,
}

impl LogReader {
    /// Opens an evidence directory.
    ///
    /// # Errors
    /// When it cannot be listed, and when a blob pack's headers are damaged.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let dir = dir.into();
        epochs(&dir).map_err(ReadError::io(&dir))?;
        let blobs = BlobStore::read_only(&dir.join("blobs"))?;
        Ok(Self { personal: PersonalReader::new(&dir), dir, blobs, places: Mutex::default(), leaps: false })
    }

    /// Opens an evidence directory to read records: blobs are looked for when the first is asked for, which in a large log takes longer
    /// than finding a record.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn open_for_records(dir: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let dir = dir.into();
        epochs(&dir).map_err(ReadError::io(&dir))?;
        let blobs = BlobStore::unread(&dir.join("blobs"));
        Ok(Self { personal: PersonalReader::new(&dir), dir, blobs, places: Mutex::default(), leaps: false })
    }

    /// For records alone: blobs are not looked for.
    pub(crate) fn of_records(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let personal = PersonalReader::new(&dir);
        Self { personal, dir, blobs: BlobStore::none(), places: Mutex::default(), leaps: false }
    }

    /// For records alone, without walking over the frames before them. A record could hold what looks like a frame, so this is for those
    /// who check what they read against a signed root.
    pub(crate) fn leaping(dir: impl Into<PathBuf>) -> Self {
        Self { leaps: true, ..Self::of_records(dir) }
    }

    /// The evidence directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The epochs that there are, in order.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn epochs(&self) -> Result<Vec<u32>, ReadError> {
        Ok(self.wals()?.into_iter().map(|(epoch, _)| epoch).collect())
    }

    pub(super) fn wals(&self) -> Result<Vec<(u32, PathBuf)>, ReadError> {
        epochs(&self.dir).map_err(ReadError::io(&self.dir))
    }

    /// All records in order, beginning with this one and going on through all later epochs. Ends where the log ends now; a later call of
    /// `next` may find more.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn records(&self, epoch: u32, from: u64) -> Result<Records<'_>, ReadError> {
        let mut records =
            Records { reader: self, epoch, index: from, segment: None, ready: VecDeque::new(), looks: 0, broken: false };
        if !self.wals()?.iter().any(|(there, _)| *there == epoch) {
            records.next_epoch()?;
        }
        Ok(records)
    }

    /// One record, if it is there.
    ///
    /// # Errors
    /// When it cannot be read, or it or its frame is damaged.
    pub fn get(&self, epoch: u32, index: u64) -> Result<Option<Record>, ReadError> {
        let found = self.records(epoch, index)?.next().transpose()?;
        Ok(found.filter(|record| (record.epoch, record.index) == (epoch, index)))
    }

    /// The last `count` records, oldest first.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn tail(&self, count: usize) -> Result<Vec<Record>, ReadError> {
        let mut start = (0, 0);
        let mut wanted = u64::try_from(count).unwrap_or(u64::MAX);
        for (epoch, wal) in self.wals()?.into_iter().rev() {
            let next = self.next_index(&wal)?;
            let begin = self.begin(epoch)?.map_or(0, |begin| begin.index);
            start = (epoch, next.saturating_sub(wanted).max(begin));
            wanted = wanted.saturating_sub(next);
            if wanted == 0 || begin > 0 {
                break;
            }
        }
        self.records(start.0, start.1)?.take(count).collect()
    }

    /// A blob's bytes, checked against its digest.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.blobs.get_fresh(digest)
    }

    /// A value that may be erased, by the commitment to it in a record of this day, without its salt. `None` when it was erased.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn personal(&self, day: Day, commitment: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let salted = self.personal.get(day, commitment)?;
        Ok(salted.and_then(|salted| salted.get(SALT..).map(<[u8]>::to_vec)))
    }

    /// How many records of an epoch are in segments that the writer has left: those it will never touch again. All of them in
    /// epochs before the last.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn left_behind(&self, epoch: u32) -> Result<u64, ReadError> {
        let wals = self.wals()?;
        let Some((_, wal)) = wals.iter().find(|(there, _)| *there == epoch) else { return Ok(0) };
        if wals.last().is_some_and(|(last, _)| *last != epoch) {
            return self.next_index(wal);
        }
        Ok(segments(wal).map_err(ReadError::io(wal))?.last().map_or(0, |(first, _)| *first))
    }

    /// Makes the last segment of each epoch durable as it is now. For whoever holds the lock.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn sync(&self) -> Result<(), ReadError> {
        for (_, wal) in self.wals()? {
            if let Some((_, path)) = segments(&wal).map_err(ReadError::io(&wal))?.last() {
                std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(ReadError::io(path))?;
            }
        }
        Ok(())
    }

    /// The first record of each segment of an epoch.
    pub(crate) fn segment_starts(&self, epoch: u32) -> Result<Vec<u64>, ReadError> {
        let wal = self.dir.join(format!("epoch-{epoch}")).join("wal");
        Ok(segments(&wal).map_err(ReadError::io(wal))?.into_iter().map(|(first, _)| first).collect())
    }

    /// How many records an epoch has now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn length(&self, epoch: u32) -> Result<u64, ReadError> {
        let found = self.wals()?.into_iter().find(|(there, _)| *there == epoch);
        found.map_or(Ok(0), |(_, wal)| self.next_index(&wal))
    }

    /// The index of the first record of an epoch that is here.
    pub(crate) fn begin_index(&self, epoch: u32) -> Result<u64, ReadError> {
        Ok(self.begin(epoch)?.map_or(0, |begin| begin.index))
    }

    /// Where an epoch begins here; `None` when it begins with its first record.
    pub(super) fn begin(&self, epoch: u32) -> Result<Option<Begin>, ReadError> {
        let dir = self.dir.join(format!("epoch-{epoch}"));
        Begin::read(&dir).map_err(ReadError::io(dir))
    }

    fn next_index(&self, wal: &Path) -> Result<u64, ReadError> {
        let mut files = segments(wal).map_err(ReadError::io(wal))?;
        // A segment that was just begun is empty; its name still says the index.
        let Some((first, path)) = files.pop() else { return Ok(0) };
        Ok(self.locate(&path, first, u64::MAX).map_err(ReadError::io(&path))?.1)
    }

    /// Where to begin reading for this record: at or a little before its frame. Also says where the segment ends now.
    fn locate(&self, path: &Path, first: u64, index: u64) -> io::Result<(u64, u64)> {
        let known = if self.leaps { None } else { lock(&self.places).get(path).cloned() };
        let mut places = known.unwrap_or(Places { index: first, ..Places::default() });
        if index >= places.index {
            let mut cursor = Cursor::open(path)?;
            cursor.seek(places.offset);
            if self.leaps {
                cursor.leap(index)?;
            }
            while let Ok(header) = cursor.peek_header()? {
                let marked = places.marks.last().map(|(_, offset)| offset.saturating_add(SPARSE));
                if marked.is_none_or(|next| cursor.offset() >= next) {
                    places.marks.push((header.first_index, cursor.offset()));
                }
                cursor.skip(header.frame_len());
                places.index = header.first_index.saturating_add(u64::from(header.count));
                places.offset = cursor.offset();
                if places.index > index {
                    break;
                }
            }
        }
        let before = places.marks.partition_point(|(first, _)| *first <= index).saturating_sub(1);
        let offset = places.marks.get(before).map_or(0, |(_, offset)| *offset);
        let next = places.index;
        if !self.leaps {
            lock(&self.places).insert(path.to_owned(), places);
        }
        Ok((offset, next))
    }
}

/// Records in order. See [`LogReader::records`].
pub struct Records<'r> {
    reader: &'r LogReader,
    epoch: u32,
    /// The next record to be given out.
    index: u64,
    segment: Option<Segment>,
    ready: VecDeque<Record>,
    looks: u32,
    /// Damage was reported: there is nothing to be trusted after it.
    broken: bool,
}

struct Segment {
    first: u64,
    path: PathBuf,
    cursor: Cursor,
    chain: Option<Chain>,
}

/// What reading a frame came to.
enum Step {
    Frame,
    /// Nothing more in this segment.
    End(End),
}

impl Iterator for Records<'_> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.index = record.index.saturating_add(1);
                return Some(Ok(record));
            }
            if self.broken {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.broken = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records<'_> {
    fn wal(&self) -> PathBuf {
        self.reader.dir.join(format!("epoch-{}", self.epoch)).join("wal")
    }

    /// Goes one step on. `false` at the end of what is there now.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let Some(mut segment) = self.segment.take() else { return self.enter() };
        let step = self.read_frame(&mut segment)?;
        let end = match step {
            Step::Frame => {
                self.looks = 0;
                self.segment = Some(segment);
                return Ok(true);
            }
            Step::End(end) => end,
        };
        let wal = self.wal();
        let next = segments(&wal).map_err(ReadError::io(&wal))?.into_iter().find(|(first, _)| *first > segment.first);
        let reached = segment.chain.as_ref().map_or(segment.first, |chain| chain.next_index);
        match (end.rest, next) {
            (Rest::Clean, Some((first, path))) if first == reached => {
                let cursor = Cursor::open(&path).map_err(ReadError::io(&path))?;
                self.segment = Some(Segment { first, path, cursor, chain: segment.chain });
                Ok(true)
            }
            (Rest::Clean | Rest::Torn { .. }, None) => {
                segment.cursor.seek(end.offset);
                self.segment = Some(segment);
                self.next_epoch()
            }
            _ => {
                self.looks += 1;
                if self.looks == LOOKS {
                    let chain = segment.chain.unwrap_or(Chain::begin(Digest::from_bytes([0; 32]), self.epoch));
                    let chain = Chain { epoch: self.epoch, next_index: reached, ..chain };
                    return Err(recover::damage(&segment.path, &end, &chain).into());
                }
                segment.cursor.seek(end.offset);
                self.segment = Some(segment);
                std::thread::sleep(BETWEEN_LOOKS);
                Ok(true)
            }
        }
    }

    /// Opens the segment that holds the next record.
    fn enter(&mut self) -> Result<bool, ReadError> {
        let wal = self.wal();
        let files = if wal.is_dir() { segments(&wal).map_err(ReadError::io(&wal))? } else { Vec::new() };
        if let Some((first, path)) = files.first().filter(|(first, _)| *first > self.index) {
            if let Some(begin) = self.reader.begin(self.epoch)?.filter(|begin| begin.index == *first) {
                return Err(self.removed(begin)?);
            }
            let reason = format!("the log begins at record {first}");
            return Err(Damage { file: path.clone(), offset: 0, epoch: self.epoch, index: self.index, reason }.into());
        }
        let holding = files.partition_point(|(first, _)| *first <= self.index).checked_sub(1);
        let Some((first, path)) = holding.and_then(|at| files.get(at)) else { return self.next_epoch() };
        let (offset, _) = self.reader.locate(path, *first, self.index).map_err(ReadError::io(path))?;
        let mut cursor = Cursor::open(path).map_err(ReadError::io(path))?;
        cursor.seek(offset);
        self.segment = Some(Segment { first: *first, path: path.clone(), cursor, chain: None });
        Ok(true)
    }

    /// What is said about a record before the begin.
    fn removed(&self, begin: Begin) -> Result<ReadError, ReadError> {
        let (epoch, index) = (self.epoch, self.index);
        let dir = self.reader.dir.join(format!("epoch-{epoch}"));
        let retired = Begin::retired(&dir).map_err(ReadError::io(dir))?.map_or(0, |retired| retired.index);
        if index < retired || begin.kept.is_empty() {
            return Ok(ReadError::Deleted { epoch, index, begin: begin.index });
        }
        Ok(ReadError::Elsewhere { epoch, index, begin: begin.index, kept: begin.kept })
    }

    /// Goes to the next epoch, if there is one.
    fn next_epoch(&mut self) -> Result<bool, ReadError> {
        let next = self.reader.wals()?.into_iter().find(|(epoch, _)| *epoch > self.epoch);
        let Some((epoch, _)) = next else { return Ok(false) };
        (self.epoch, self.index, self.segment) = (epoch, 0, None);
        Ok(true)
    }

    fn read_frame(&mut self, segment: &mut Segment) -> Result<Step, ReadError> {
        let Segment { path, cursor, chain, .. } = segment;
        let offset = cursor.offset();
        let wrong = match cursor.peek().map_err(ReadError::io(path.as_path()))? {
            Ok(frame) => {
                let header: &Header = &frame.header;
                let expected = chain.get_or_insert_with(|| Chain { epoch: self.epoch, ..Chain::before(header) });
                match expected.check(header) {
                    Ok(()) => {
                        expected.advance(header, frame.hash());
                        for (index, bytes) in
                            (header.first_index..).zip(frame.records()).filter(|(index, _)| *index >= self.index)
                        {
                            self.ready.push_back(Record { epoch: self.epoch, index, bytes: bytes.to_vec() });
                        }
                        let length = header.frame_len();
                        cursor.skip(length);
                        return Ok(Step::Frame);
                    }
                    Err(reason) => {
                        let rest = Rest::Damaged { later: None };
                        return Ok(Step::End(End { last: offset, offset, rest, reason: reason.to_owned() }));
                    }
                }
            }
            Err(wrong) => wrong,
        };
        let rest = cursor.rest().map_err(ReadError::io(path.as_path()))?;
        // Before the first frame was read, nothing is known that a later one could be compared with.
        let known = chain.clone().unwrap_or(Chain::begin(Digest::from_bytes([0; 32]), self.epoch));
        let rest = super::frame::classify(&rest, offset, known.next_seq, &known.log_id);
        Ok(Step::End(End { last: offset, offset, rest, reason: wrong.to_string() }))
    }
}
