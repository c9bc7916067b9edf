//! The kill log: orders to deny a client, a key, an issuer, an anchor, a host or a statement, for good or for a while, whatever else
//! speaks for it; and the one order that lets more through, an override, with its review.
//!
//! `<data_dir>/kill/log.jws`, one compact JWS a line. Each line names the digest of the line before, and sequence numbers have no gap,
//! so a follower notices loss and reordering whatever the transport did. Nothing is erased: a lift is an order too. One writer
//! (a lock); readers need no lock. An order that `KillLog::append` has returned is durable. A replica keeps the lines that another
//! log's writer signed in the same form (`follow`), and can sign nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;

use crate::evidence::{Disk, Lock, NotLocked, Storage as _, create_dirs};
use crate::publisher::keys::{self, SigningKey};
use crate::values::Digest;

mod error;
mod follow;
mod head;
mod order;
mod verify;

pub use error::{KillLogError, Wrong};
pub use follow::Taken;
pub use head::{Head, NONCE, is_nonce};
pub use order::{Act, Action, ByPolicy, NewOrder, Order, Origin, Signal, Target, Terms};
pub use verify::{ENTRIES_MAX, ENTRY_MAX, MAX_LINE, MAX_TEXT, OVERRIDE_MAX, Verifier};

use verify::TYPE;

/// The kill log of a data directory.
#[derive(Debug)]
pub struct KillLog {
    verified: Verifier,
    lines: Vec<String>,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    /// None for the log of another writer, which is followed.
    key: Option<SigningKey>,
    file: File,
    path: PathBuf,
    length: u64,
    broken: bool,
    _lock: Lock,
}

impl KillLog {
    /// Opens the log of this data directory for writing, or creates it and its key. Every line is verified; the remains of an
    /// unfinished last line are cut.
    ///
    /// # Errors
    /// When another process has it open, or a line is not as it was written, naming the line and the reason.
    pub fn open(data_dir: &Path) -> Result<Self, KillLogError> {
        let lock = lock(data_dir)?;
        let key = SigningKey::load_or_create(&data_dir.join("keys").join("kill.key"))?;
        Self::open_locked(data_dir, key.verifying_key(), Some(key), lock)
    }

    fn open_locked(data_dir: &Path, public: VerifyingKey, key: Option<SigningKey>, lock: Lock) -> Result<Self, KillLogError> {
        let dir = data_dir.join("kill");
        let path = dir.join("log.jws");
        publish(&dir, &public)?;
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&path);
        let file = open.map_err(KillLogError::io(&path, "open"))?;
        Disk.fsync_dir(&dir).map_err(KillLogError::io(&dir, "fsync"))?;
        let (verified, lines, length) = read(&path, public)?;
        if file.metadata().map_err(KillLogError::io(&path, "look at"))?.len() != length {
            tracing::warn!(file = %path.display(), length, "an unfinished kill order, which nobody was told of, is cut off");
            file.set_len(length).map_err(KillLogError::io(&path, "truncate"))?;
        }
        // Also makes durable what a crash may have left in the page cache only, before anybody acts upon it.
        file.sync_all().map_err(KillLogError::io(&path, "fsync"))?;
        Ok(Self { verified, lines, writer: Some(Writer { key, file, path, length, broken: false, _lock: lock }) })
    }

    /// Reads the log of this data directory as it is now, with the public key that its writer left beside it. Takes no lock, changes
    /// nothing, ignores a last line that is still being written. A data directory without a kill log has no orders.
    ///
    /// # Errors
    /// When a line is not as it was written.
    pub fn read_only(data_dir: &Path) -> Result<Self, KillLogError> {
        let path = data_dir.join("kill").join("log.jws");
        let key_path = public_key_path(&data_dir.join("kill"));
        let malformed = || KillLogError::PublicKey(key_path.clone());
        let key = match std::fs::read(&key_path) {
            Ok(text) => parse_public(&text).ok_or_else(malformed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {
                return Ok(Self { verified: Verifier::new(VerifyingKey::default()), lines: Vec::new(), writer: None });
            }
            Err(error) => return Err(KillLogError::io(&key_path, "read")(error)),
        };
        let (verified, lines, _) = read(&path, key)?;
        Ok(Self { verified, lines, writer: None })
    }

    /// Signs an order and makes it durable.
    ///
    /// # Errors
    /// When the order is refused (nothing was written then), or cannot be made durable.
    pub fn append(&mut self, new: NewOrder) -> Result<&Order, KillLogError> {
        let writer = self.writer.as_mut().ok_or(KillLogError::ReadOnly)?;
        if writer.broken {
            return Err(KillLogError::Broken);
        }
        let key = writer.key.as_ref().ok_or(KillLogError::Follows)?;
        let (seq, prev) = self.verified.head();
        let order = new.at_place(seq.saturating_add(1), prev);
        self.verified.check(&order)?;
        let payload = serde_json::to_vec(&order).map_err(|error| Wrong::Shape(error.to_string()))?;
        let line = key.sign_compact(&[("typ", TYPE.into())], &payload);
        // What could not be read back is not written either.
        let mut verified = self.verified.verify(&line).map(|_| line)?;
        verified.push('\n');
        writer.write(verified.as_bytes())?;
        verified.pop();
        self.verified.push(&verified)?;
        self.lines.push(verified);
        Ok(self.verified.orders().last().ok_or(Wrong::NotJws)?)
    }

    /// Whether a line could be written now: open for writing, and no earlier write failed.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.broken)
    }

    /// All orders, oldest first.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        self.verified.orders()
    }

    /// The signed lines, without newlines, that come after this sequence number: the feed.
    #[must_use]
    pub fn lines_after(&self, seq: u64) -> &[String] {
        self.lines.get(usize::try_from(seq).unwrap_or(usize::MAX)..).unwrap_or_default()
    }

    /// The last sequence number, 0 if there is none, and the digest of its line.
    #[must_use]
    pub fn head(&self) -> (u64, Digest) {
        self.verified.head()
    }

    /// The key that the lines verify with.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        self.verified.key()
    }
}

impl Writer {
    fn write(&mut self, line: &[u8]) -> Result<(), KillLogError> {
        if let Err(error) = self.file.write_all(line) {
            // A full disk passes: take back what was written of the line. If that fails too, only a restart can tell.
            self.broken = self.file.set_len(self.length).and_then(|()| self.file.sync_all()).is_err();
            return Err(KillLogError::io(&self.path, "write")(error));
        }
        if let Err(error) = self.file.sync_data() {
            self.broken = true;
            return Err(KillLogError::io(&self.path, "fdatasync")(error));
        }
        self.length = self.length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// One process writes a data directory.
fn lock(data_dir: &Path) -> Result<Lock, KillLogError> {
    let dir = data_dir.join("kill");
    create_dirs(&Disk, &dir).map_err(KillLogError::io(&dir, "create"))?;
    Lock::take(&dir.join("LOCK")).map_err(|refused| match refused {
        NotLocked::Held(holder) => KillLogError::Locked { file: dir.join("log.jws"), holder },
        NotLocked::Io(source) => KillLogError::Io { path: dir.join("LOCK"), what: "lock", source },
    })
}

/// Verifies all whole lines; also says how many bytes they have.
fn read(path: &Path, key: VerifyingKey) -> Result<(Verifier, Vec<String>, u64), KillLogError> {
    let bytes = std::fs::read(path).map_err(KillLogError::io(path, "read"))?;
    let mut verified = Verifier::new(key);
    let mut lines = Vec::new();
    let mut length: u64 = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // Without its newline the line was never finished, hence nobody was told that it was durable.
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let number = verified.head().0.saturating_add(1);
        let damaged = |wrong| KillLogError::Damaged { file: path.to_owned(), line: number, wrong };
        let line = std::str::from_utf8(line).map_err(|_| damaged(Wrong::NotJws))?;
        verified.push(line).map_err(damaged)?;
        length = length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)).saturating_add(1);
        lines.push(line.to_owned());
    }
    Ok((verified, lines, length))
}

fn public_key_path(dir: &Path) -> PathBuf {
    dir.join("key.jwk")
}

fn parse_public(text: &[u8]) -> Option<VerifyingKey> {
    let jwk: serde_json::Value = serde_json::from_slice(text).ok()?;
    let okp = jwk.get("kty")? == "OKP" && jwk.get("crv")? == "Ed25519";
    keys::parse_public(jwk.get("x")?.as_str()?).filter(|_| okp)
}

/// Leaves the public key beside the log, so that readers need no access to the private one. Refuses another key than the one there:
/// the lines would not verify.
fn publish(dir: &Path, key: &VerifyingKey) -> Result<(), KillLogError> {
    let path = public_key_path(dir);
    match std::fs::read(&path) {
        Ok(text) if parse_public(&text) == Some(*key) => Ok(()),
        Ok(_) => Err(KillLogError::PublicKey(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let draft = path.with_extension("new");
            let written = std::fs::write(&draft, keys::public_jwk(key).to_string())
                .and_then(|()| File::open(&draft)?.sync_all())
                .and_then(|()| std::fs::rename(&draft, &path));
            written.map_err(KillLogError::io(&path, "write"))
        }
        Err(error) => Err(KillLogError::io(&path, "read")(error)),
    }
}

#[cfg(test)]
mod override_tests;
#[cfg(test)]
mod tests;
