//! Checkpoints (c2sp.org/tlog-checkpoint): the body of the note that a log signs.

use std::fmt;

use data_encoding::BASE64;

use crate::values::Digest;

/// What a log says about itself at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

/// Why a text is not a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a checkpoint: {0} (c2sp.org/tlog-checkpoint)")]
pub struct CheckpointError(&'static str);

impl Checkpoint {
    /// Reads the text of a note. Extension lines are allowed and mean nothing to us.
    ///
    /// # Errors
    /// Names the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError("it does not end in a newline"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError("line 1, the origin, is empty"))?;
        let size = lines.next().and_then(decimal).ok_or(CheckpointError("line 2, the size, is not a decimal number"))?;
        let root = lines.next().and_then(hash).ok_or(CheckpointError("line 3, the root, is not base64 of 32 bytes"))?;
        if lines.any(str::is_empty) {
            return Err(CheckpointError("an extension line is empty"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }
}

/// A decimal number in its only spelling.
pub(in crate::evidence) fn decimal(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// A hash in standard base64.
pub(in crate::evidence) fn hash(text: &str) -> Option<Digest> {
    // Bounded before anything is allocated: 32 bytes are 44 characters.
    let bytes = (text.len() == 44).then(|| BASE64.decode(text.as_bytes()).ok()).flatten()?;
    bytes.try_into().ok().map(Digest::from_bytes)
}
