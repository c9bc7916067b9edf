//! The format of a frame, the unit of durability: one group commit, one frame, one fdatasync. Pure: bytes in, bytes out.
//!
//! ```text
//! offset size  field (integers big-endian)
//!      0    8  magic
//!      8    2  version = 1 (2 will add tree size and root)
//!     10    2  kind: 1 records, 2 settled, 3 closed, 4 blobs
//!     12    4  epoch
//!     16   32  log id = SHA-256(origin)
//!     48    8  frame sequence number, from 0 in each epoch
//!     56    8  index of the first record (of the next one, in a marker)
//!     64    4  count of records
//!     68    4  payload length
//!     72   32  SHA-256 of the whole previous frame; the log id in the first
//!    104    4  CRC-32C of the 104 bytes before
//!    108    n  payload: each record as its length in 2 bytes, then its bytes (the entry bundle of c2sp.org/tlog-tiles);
//!              in a blob pack each blob as its digest (32), its length (4), its stored length (4), then its stored bytes
//!  108+n    4  CRC-32C of the payload
//!  112+n    4  end mark, four non-zero bytes
//! ```
//!
//! The CRCs find accidents, the hash chain binds a frame to all before it. The end mark makes an unfinished write recognisable:
//! segments are preallocated, so what was not written reads as zeros, and a finished frame never ends in one (see [`classify`]).

use crate::values::Digest;

/// The first bytes of each frame. Eight, so that scanning for a later frame hardly ever stops at a record's own bytes.
pub const MAGIC: [u8; 8] = *b"\xC5ign\xA7Wf\x8D";
/// The version of the format that this code writes, and the only one that it reads.
pub const VERSION: u16 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 108;
/// Bytes after the payload.
pub const TRAILER_LEN: usize = 8;
/// The longest record: its length is written in two bytes (c2sp.org/tlog-tiles, "Log entries").
pub const MAX_RECORD: usize = 65_535;
/// The longest payload that is believed. Twice what the writer makes of a batch: a damaged length must not make a reader
/// allocate gigabytes.
pub const MAX_PAYLOAD: usize = 2 << 20;
/// The smallest unit that storage writes wholly or not at all.
const SECTOR: u64 = 512;
const END: [u8; 4] = [0xE7, 0x5D, 0xB3, 0x9E];

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Carries records.
    Records,
    /// Carries nothing. Written once the log has been idle for a moment: that it exists proves that the frame before it was durable.
    Settled,
    /// As `Settled`, and the last of a log that was closed on purpose.
    Closed,
    /// Carries blobs; only in a pack (`blobs.rs`), where the epoch is the pack's number.
    Blobs,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::Records => 1,
            Self::Settled => 2,
            Self::Closed => 3,
            Self::Blobs => 4,
        }
    }

    const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Records),
            2 => Some(Self::Settled),
            3 => Some(Self::Closed),
            4 => Some(Self::Blobs),
            _ => None,
        }
    }
}

/// What stands before the payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame is for.
    pub kind: Kind,
    /// The epoch of the log.
    pub epoch: u32,
    /// SHA-256 of the log's origin.
    pub log_id: Digest,
    /// The frame's number within the epoch.
    pub seq: u64,
    /// The index of the first record.
    pub first_index: u64,
    /// How many records.
    pub count: u32,
    /// SHA-256 of the previous frame.
    pub prev: Digest,
    /// How many bytes of payload.
    pub payload_len: u32,
}

/// A whole frame whose checksums hold and whose payload divides into exactly as many records as it says.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    payload: &'a [u8],
    bytes: &'a [u8],
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// More bytes are needed.
    #[error("the bytes end before the frame does")]
    Short,
    /// No magic.
    #[error("no frame begins here")]
    Magic,
    /// Written by another version of this program.
    #[error("frame version {0} (this program reads version 1)")]
    Version(u16),
    /// The header is damaged.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// The header's checksum holds, but it says something that no writer writes.
    #[error("the header contradicts itself")]
    Header,
    /// The payload is damaged.
    #[error("the payload's checksum is wrong")]
    PayloadChecksum,
    /// The end mark is damaged.
    #[error("the end mark is wrong")]
    End,
    /// The payload does not divide into the records that the header announces.
    #[error("the payload does not hold the announced records")]
    Records,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.kind.code().to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(self.log_id.as_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.first_index.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.payload_len.to_be_bytes());
        out.extend_from_slice(self.prev.as_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        let mut header = [0; HEADER_LEN];
        header.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        header
    }

    /// Reads a header from the beginning of `bytes`.
    ///
    /// # Errors
    /// When no undamaged header of our version is there.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let whole = bytes.get(..HEADER_LEN).ok_or(FrameError::Short)?;
        let mut rest = whole;
        if take(&mut rest)? != MAGIC {
            return Err(FrameError::Magic);
        }
        let version = u16::from_be_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = u16::from_be_bytes(take(&mut rest)?);
        let epoch = u32::from_be_bytes(take(&mut rest)?);
        let log_id = Digest::from_bytes(take(&mut rest)?);
        let seq = u64::from_be_bytes(take(&mut rest)?);
        let first_index = u64::from_be_bytes(take(&mut rest)?);
        let count = u32::from_be_bytes(take(&mut rest)?);
        let payload_len = u32::from_be_bytes(take(&mut rest)?);
        let prev = Digest::from_bytes(take(&mut rest)?);
        let covered = whole.get(..HEADER_LEN - 4).ok_or(FrameError::Short)?;
        if crc32c::crc32c(covered) != u32::from_be_bytes(take(&mut rest)?) {
            return Err(FrameError::HeaderChecksum);
        }
        let kind = Kind::from_code(kind).ok_or(FrameError::Header)?;
        let header = Self { kind, epoch, log_id, seq, first_index, count, prev, payload_len };
        let bounded = header.payload_len() <= MAX_PAYLOAD && first_index.checked_add(u64::from(count)).is_some();
        let marker = matches!(kind, Kind::Settled | Kind::Closed);
        if !bounded || marker != (count == 0) || marker != (payload_len == 0) || seq == u64::MAX {
            return Err(FrameError::Header);
        }
        Ok(header)
    }

    fn payload_len(&self) -> usize {
        usize::try_from(self.payload_len).unwrap_or(usize::MAX)
    }

    /// The length of the whole frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.payload_len().saturating_add(HEADER_LEN + TRAILER_LEN)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(FrameError::Short)?;
    *bytes = rest;
    Ok(*head)
}

impl<'a> Frame<'a> {
    /// The whole frame's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the next frame must name as its predecessor.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(self.bytes)
    }

    /// The records in order; none in a frame of another kind.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records { rest: if self.header.kind == Kind::Records { self.payload } else { &[] } }
    }

    /// The blobs in order; none in a frame of another kind.
    pub(crate) fn blobs(&self) -> Blobs<'a> {
        Blobs { rest: if self.header.kind == Kind::Blobs { self.payload } else { &[] } }
    }

    /// Whether the payload divides into exactly as many parts as the header announces.
    fn is_divided(&self) -> bool {
        let (mut records, mut blobs) = (self.records(), self.blobs());
        let (count, rest) = match self.header.kind {
            Kind::Blobs => (blobs.by_ref().count(), blobs.rest),
            _ => (records.by_ref().count(), records.rest),
        };
        rest.is_empty() && u32::try_from(count) == Ok(self.header.count)
    }
}

/// How a blob begins in a pack: digest, length, stored length.
pub(crate) const BLOB_HEADER_LEN: usize = 40;

/// A blob as a pack holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoredBlob<'a> {
    pub(crate) digest: Digest,
    pub(crate) length: u32,
    pub(crate) stored: &'a [u8],
}

/// The blobs of a payload.
#[derive(Clone, Debug)]
pub(crate) struct Blobs<'a> {
    rest: &'a [u8],
}

/// Reads the beginning of a blob: digest, length, stored length.
pub(crate) fn blob_header(bytes: &[u8]) -> Result<(Digest, u32, u32), FrameError> {
    let mut rest = bytes;
    let digest = Digest::from_bytes(take(&mut rest)?);
    Ok((digest, u32::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?)))
}

impl<'a> Iterator for Blobs<'a> {
    type Item = StoredBlob<'a>;
    fn next(&mut self) -> Option<StoredBlob<'a>> {
        let (digest, length, stored) = blob_header(self.rest).ok()?;
        let body = self.rest.get(BLOB_HEADER_LEN..)?;
        let (stored, rest) = body.split_at_checked(usize::try_from(stored).ok()?)?;
        self.rest = rest;
        Some(StoredBlob { digest, length, stored })
    }
}

/// Adds a blob to a frame under construction.
pub(crate) fn push_blob(buffer: &mut Vec<u8>, blob: &StoredBlob<'_>) {
    buffer.extend_from_slice(blob.digest.as_bytes());
    buffer.extend_from_slice(&blob.length.to_be_bytes());
    buffer.extend_from_slice(&u32::try_from(blob.stored.len()).unwrap_or(u32::MAX).to_be_bytes());
    buffer.extend_from_slice(blob.stored);
}

/// The records of a payload.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (record, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.rest = rest;
        Some(record)
    }
}

/// Reads one frame from the beginning of `bytes`; what follows it is not looked at.
///
/// # Errors
/// When no whole, undamaged frame is there.
pub fn decode(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let header = Header::decode(bytes)?;
    let whole = bytes.get(..header.frame_len()).ok_or(FrameError::Short)?;
    let body = whole.get(HEADER_LEN..).ok_or(FrameError::Short)?;
    let (payload, mut trailer) = body.split_at_checked(header.payload_len()).ok_or(FrameError::Short)?;
    if crc32c::crc32c(payload) != u32::from_be_bytes(take(&mut trailer)?) {
        return Err(FrameError::PayloadChecksum);
    }
    if trailer != END {
        return Err(FrameError::End);
    }
    let frame = Frame { header, payload, bytes: whole };
    if frame.is_divided() { Ok(frame) } else { Err(FrameError::Records) }
}

/// An empty frame under construction: room for the header, to be followed by records through [`push_record`].
pub fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER_LEN, 0);
}

/// Adds a record to a frame under construction. The caller has checked that it is at most [`MAX_RECORD`] long; a longer one is not
/// added and `false` returned.
#[must_use]
pub fn push_record(buffer: &mut Vec<u8>, record: &[u8]) -> bool {
    let Ok(length) = u16::try_from(record.len()) else { return false };
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(record);
    true
}

/// Finishes a frame in place, so that the records are copied only once, and returns its hash. `header.payload_len` is set from the buffer.
pub fn finish(buffer: &mut Vec<u8>, mut header: Header) -> Digest {
    let payload = buffer.get(HEADER_LEN..).unwrap_or_default();
    let checksum = crc32c::crc32c(payload);
    header.payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let encoded = header.encode();
    buffer.iter_mut().zip(encoded).for_each(|(to, from)| *to = from);
    buffer.extend_from_slice(&checksum.to_be_bytes());
    buffer.extend_from_slice(&END);
    Digest::of(buffer)
}

/// What stands where the next frame would begin, when no valid frame does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing: the end, or zeros only.
    Clean,
    /// The remains of a write that never finished, hence was never acknowledged.
    Torn {
        /// From the beginning of the frame to its last byte that is not zero.
        bytes: u64,
    },
    /// Something that an unfinished write does not leave behind: acknowledged data is damaged.
    Damaged {
        /// Where, counted from the beginning of the bad frame, a later valid frame begins.
        later: Option<u64>,
    },
}

/// Tells the remains of an unfinished write from damage. `rest` is everything from the beginning of the bad frame to the end of the
/// file, `at` its offset there, `seq` the sequence number that was expected.
///
/// Frame k+1 is never written before frame k is durable. So anything valid after a bad frame proves that the bad frame was once
/// durable. Without that proof: segments are fresh files that read as zeros, and storage writes sectors wholly or not at all, so an
/// unfinished frame lacks something: its end, or a whole sector in its midst. A bad frame that lacks nothing was finished once and
/// is damaged. What remains undecidable is in the module documentation of `evidence`.
#[must_use]
pub fn classify(rest: &[u8], at: u64, seq: u64, log_id: &Digest) -> Rest {
    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        return Rest::Clean;
    }
    let header = Header::decode(rest);
    let after = header.as_ref().map_or(1, Header::frame_len);
    if let Some(later) = find_later(rest.get(..used).unwrap_or_default(), after, seq, log_id) {
        return Rest::Damaged { later: Some(later) };
    }
    let torn = match header {
        // A header that is not the expected one was written whole, by something else than our writer.
        Ok(header) if header.seq != seq || header.log_id != *log_id => false,
        // Bytes beyond the frame belong to a next one, which is begun only when this one is durable.
        Ok(header) if used > header.frame_len() => false,
        Ok(header) => match rest.get(..header.frame_len()) {
            None => true,
            Some(frame) => frame.last() == Some(&0) || has_hole(frame, at),
        },
        // Nor may a program that was downgraded cut what its successor wrote. (An unfinished version field reads as 0.)
        Err(FrameError::Version(version)) if version != 0 => false,
        Err(_) => used < HEADER_LEN || has_hole(rest.get(..used).unwrap_or_default(), at),
    };
    if torn { Rest::Torn { bytes: u64::try_from(used).unwrap_or(u64::MAX) } } else { Rest::Damaged { later: None } }
}

/// Whether a whole sector's share of these bytes is zeros.
pub(crate) fn has_hole(bytes: &[u8], at: u64) -> bool {
    let first = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX).min(bytes.len());
    let (head, tail) = bytes.split_at(first);
    let sector = usize::try_from(SECTOR).unwrap_or(usize::MAX);
    std::iter::once(head).chain(tail.chunks(sector)).any(|part| part.iter().all(|byte| *byte == 0))
}

fn find_later(bytes: &[u8], from: usize, seq: u64, log_id: &Digest) -> Option<u64> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        let [first, ..] = MAGIC;
        at += rest.iter().position(|byte| *byte == first)?;
        let candidate = bytes.get(at..)?;
        if candidate.starts_with(&MAGIC)
            && decode(candidate).is_ok_and(|frame| frame.header.seq > seq && frame.header.log_id == *log_id)
        {
            return u64::try_from(at).ok();
        }
        at += 1;
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
