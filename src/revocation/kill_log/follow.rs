//! Following: the lines of another log's writer, verified at arrival and kept durably in the same form.

use std::path::Path;

use ed25519_dalek::VerifyingKey;

use super::{KillLog, KillLogError, Wrong, lock};
use crate::revocation::kill_log::Head;

/// What became of lines that arrived.
#[derive(Debug)]
pub struct Taken {
    /// How many of them are the next orders, now durable.
    pub orders: usize,
    /// Why the one after them was not taken.
    pub refused: Option<Wrong>,
}

impl KillLog {
    /// Opens the log of this data directory to follow the log that is signed with this key. Every line that is there is verified, as
    /// [`KillLog::open`] does. A directory that has orders of another key is refused.
    ///
    /// # Errors
    /// When another process has it open, a line is not as it was written, or the key is another one.
    pub fn follow(data_dir: &Path, key: VerifyingKey) -> Result<Self, KillLogError> {
        Self::open_locked(data_dir, key, None, lock(data_dir)?)
    }

    /// Takes the next lines, up to the first that is not the next order. Those that were taken are durable when this returns.
    ///
    /// # Errors
    /// When they cannot be made durable. What is in memory is ahead of the disk then, so nothing more is taken until a restart.
    pub fn take(&mut self, lines: &[String]) -> Result<Taken, KillLogError> {
        let writer = self.writer.as_mut().ok_or(KillLogError::ReadOnly)?;
        if writer.broken {
            return Err(KillLogError::Broken);
        }
        let (mut bytes, mut taken) = (Vec::new(), Taken { orders: 0, refused: None });
        for line in lines {
            // The file holds one line for each: a newline inside would make two of it.
            let pushed = if line.contains('\n') { Err(Wrong::NotJws) } else { self.verified.push(line).map(drop) };
            if let Err(wrong) = pushed {
                taken.refused = Some(wrong);
                break;
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            self.lines.push(line.clone());
            taken.orders = taken.orders.saturating_add(1);
        }
        if taken.orders > 0 {
            writer.write(&bytes).inspect_err(|_| writer.broken = true)?;
        }
        Ok(taken)
    }

    /// The number that a line of this log's key has, wherever its place is.
    #[must_use]
    pub fn number_of(&self, line: &str) -> Option<u64> {
        self.verified.number_of(line)
    }

    /// Reads a head, if this log's key signed it for this question.
    ///
    /// # Errors
    /// As [`super::Verifier::verify_head`] says.
    pub fn verify_head(&self, jws: &str, nonce: &str) -> Result<Head, Wrong> {
        self.verified.verify_head(jws, nonce)
    }
}
