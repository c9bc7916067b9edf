//! The names of decisions.

use crate::values::{Digest, Timestamp};

/// The name of a decision: where its record is, when it was made, and a mark of the log, so that nothing has to be looked up to
/// find it. An RFC 9562 UUID of version 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecisionId {
    /// When it was decided; the top 48 bits, so that ids sort by time.
    pub at: Timestamp,
    /// The log's epoch, 14 bits.
    pub epoch: u32,
    /// The record's index, 48 bits.
    pub index: u64,
    /// 12 bits of the digest of the log's name.
    pub mark: u16,
}

/// What the names of all decisions in one log share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogMark {
    epoch: u32,
    mark: u16,
}

impl LogMark {
    /// Of a log's name.
    #[must_use]
    pub fn of(log: &str) -> Self {
        let epoch = log.rsplit('/').next().and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let [high, low, ..] = *Digest::of(log.as_bytes()).as_bytes();
        Self { epoch, mark: u16::from_be_bytes([high & 0x0f, low]) }
    }

    /// The name of one decision.
    #[must_use]
    pub const fn id(self, at: Timestamp, index: u64) -> DecisionId {
        DecisionId { at, epoch: self.epoch, index, mark: self.mark }
    }
}

impl DecisionId {
    /// Of a record.
    #[must_use]
    pub fn new(at: Timestamp, log: &str, index: u64) -> Self {
        LogMark::of(log).id(at, index)
    }

    /// The UUID.
    #[must_use]
    pub fn to_uuid(self) -> uuid::Uuid {
        let high = (u128::from(self.at.as_millis()) & 0xffff_ffff_ffff) << 80;
        let version = 8_u128 << 76;
        let mark = u128::from(self.mark & 0xfff) << 64;
        let variant = 2_u128 << 62;
        let place = (u128::from(self.epoch & 0x3fff) << 48) | u128::from(self.index & 0xffff_ffff_ffff);
        uuid::Uuid::from_u128(high | version | mark | variant | place)
    }

    /// Reads the text form. `None` when it is not such an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = uuid::Uuid::try_parse(text).ok()?;
        if uuid.get_version_num() != 8 {
            return None;
        }
        let bits = uuid.as_u128();
        let field = |shift: u32, mask: u64| u64::try_from((bits >> shift) & u128::from(mask)).unwrap_or(0);
        Some(Self {
            at: Timestamp::from_millis(field(80, 0xffff_ffff_ffff)),
            epoch: u32::try_from(field(48, 0x3fff)).ok()?,
            index: field(0, 0xffff_ffff_ffff),
            mark: u16::try_from(field(64, 0xfff)).ok()?,
        })
    }
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_uuid().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_where_the_record_is() {
        let id = DecisionId::new(Timestamp::from_millis(1_795_309_323_456), "v.example/evidence/eu/r1/7", 4711);
        let text = id.to_string();
        assert_eq!(DecisionId::parse(&text), Some(id));
        assert_eq!((id.epoch, id.index), (7, 4711));
        assert_eq!(DecisionId::parse("019abc"), None);
        assert_eq!(DecisionId::parse("019a0000-0000-7000-8000-000000000000"), None);
    }
}
