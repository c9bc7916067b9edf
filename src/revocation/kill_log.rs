//! The kill log: orders to deny a client, a key, an issuer, an anchor, a host or a statement, whatever else speaks for it.
//!
//! `<data_dir>/kill/log.jws`, one compact JWS a line. Each line names the digest of the line before, and sequence numbers have no gap,
//! so a follower notices loss and reordering whatever the transport did. Nothing is erased: a lift is an order too. One writer
//! (a lock); readers need no lock. An order that `KillLog::append` has returned is durable.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize};

use crate::evidence::{Disk, Holder, Lock, NotLocked, Storage as _, create_dirs};
use crate::judge::revocation::TargetKind;
use crate::publisher::keys::{KeyError, SigningKey, thumbprint};
use crate::values::{Digest, Timestamp};

/// The most bytes of each text in an order. Enough for any identifier that we accept and for a sentence; orders are held in memory.
pub const MAX_TEXT: usize = 1024;
/// The most bytes of a line: four texts of which JSON may escape each byte as six, in base64url, and the rest.
const MAX_LINE: usize = 40_000;
const TYPE: &str = "countersign-kill+jwt";

/// What an order does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Denies the target from now on.
    Kill,
    /// Takes an earlier kill back.
    Lift,
}

/// What an order is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which kind of thing.
    #[serde(rename = "type")]
    pub kind: TargetKind,
    /// Which one.
    pub value: String,
}

/// An order in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its number, from 1 without a gap.
    pub seq: u64,
    /// When it was given, by the clock of whoever wrote it down.
    pub at: Timestamp,
    /// What it does.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Where that is tracked.
    pub ticket: String,
    /// Who gave it.
    pub by: String,
    /// For a lift: the kill that it takes back.
    #[serde(deserialize_with = "present")]
    pub lifts: Option<u64>,
    /// The digest of the line before.
    pub prev: Digest,
}

/// An `Option` that must be there, if only as `null`: serde takes a missing one for `None`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}

/// An order to be given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrder {
    /// The time now.
    pub at: Timestamp,
    /// What to kill, or what was killed.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Where that is tracked.
    pub ticket: String,
    /// Who gives it.
    pub by: String,
    /// `None` to kill; the number of the kill to be taken back to lift.
    pub lifts: Option<u64>,
}

/// What is wrong with a line or an order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// Not three parts of base64url.
    #[error("not a compact JWS")]
    NotJws,
    /// Longer than any order.
    #[error("longer than any order can be")]
    TooLong,
    /// The header is not the one that this log's lines have.
    #[error("the header is not that of an order signed with this log's key")]
    Header,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// The payload is not an order.
    #[error("not an order: {0}")]
    Shape(String),
    /// The number is not the next.
    #[error("sequence number {found} where {expected} was expected: orders are missing or out of order")]
    Sequence {
        /// The next number.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The line before is another one.
    #[error("the line names another predecessor")]
    Chain,
    /// A text is too long, or is missing.
    #[error("`{0}` must have 1 to 1024 bytes")]
    Text(&'static str),
    /// A lift that lifts nothing.
    #[error("a lift must name an earlier kill of the same target that is still in force; a kill names none")]
    Lifts,
}

/// Why the kill log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KillLogError {
    /// A line is not as it was written. Refused whole: whoever can remove one order can lift a kill.
    #[error("{}: line {line}: {wrong}; refusing to go on", file.display())]
    Damaged {
        /// The log.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        wrong: Wrong,
    },
    /// The order is refused; nothing was written.
    #[error("{0}")]
    Refused(#[from] Wrong),
    /// Another process has the log open for writing.
    #[error("{} is in use by {holder}; one process writes a data directory: act through it with --server", file.display())]
    Locked {
        /// The log.
        file: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// Opened for reading only.
    #[error("the kill log was opened for reading only")]
    ReadOnly,
    /// An earlier write failed: only opening it again tells where the log ends.
    #[error("an earlier write to the kill log failed; restart to go on")]
    Broken,
    /// The public key beside the log is missing or not one.
    #[error("{}: not the public key of a kill log", .0.display())]
    PublicKey(PathBuf),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operating system said no.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl KillLogError {
    fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }
}

/// Checks the lines of a kill log one after the other: what a reader of the file and a follower of the feed have in common.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: VerifyingKey,
    kid: String,
    orders: Vec<Order>,
    lifted: HashSet<u64>,
    head: Digest,
}

impl Verifier {
    /// Of a log signed with this key, before its first line.
    #[must_use]
    pub fn new(key: VerifyingKey) -> Self {
        Self { key, kid: thumbprint(&key), orders: Vec::new(), lifted: HashSet::new(), head: Digest::of(b"") }
    }

    /// Takes the next line, without its newline, or says what is wrong with it and stays as it was.
    ///
    /// # Errors
    /// When the line is not the next order of this log.
    pub fn push(&mut self, line: &str) -> Result<&Order, Wrong> {
        let order = self.verify(line)?;
        self.check(&order)?;
        self.head = Digest::of(line.as_bytes());
        self.lifted.extend(order.lifts);
        self.orders.push(order);
        self.orders.last().ok_or(Wrong::NotJws)
    }

    fn verify(&self, line: &str) -> Result<Order, Wrong> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Header {
            alg: String,
            kid: String,
            typ: String,
        }
        if line.len() > MAX_LINE {
            return Err(Wrong::TooLong);
        }
        let (signed, signature) = line.rsplit_once('.').ok_or(Wrong::NotJws)?;
        let (header, payload) = signed.split_once('.').ok_or(Wrong::NotJws)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Wrong::NotJws);
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| Wrong::Header)?;
        if (header.alg.as_str(), header.kid.as_str(), header.typ.as_str()) != ("EdDSA", &self.kid, TYPE) {
            return Err(Wrong::Header);
        }
        let signature = Signature::from_slice(&signature).map_err(|_| Wrong::Signature)?;
        self.key.verify_strict(signed.as_bytes(), &signature).map_err(|_| Wrong::Signature)?;
        serde_json::from_slice(&payload).map_err(|error| Wrong::Shape(error.to_string()))
    }

    fn check(&self, order: &Order) -> Result<(), Wrong> {
        let expected = self.seq().saturating_add(1);
        if order.seq != expected {
            return Err(Wrong::Sequence { expected, found: order.seq });
        }
        if order.prev != self.head {
            return Err(Wrong::Chain);
        }
        let texts = [("value", &order.target.value), ("reason", &order.reason), ("ticket", &order.ticket), ("by", &order.by)];
        for (name, text) in texts {
            // A target and a name there must be; a reason and a ticket are asked for by whoever asks for them.
            if text.len() > MAX_TEXT || (text.is_empty() && matches!(name, "value" | "by")) {
                return Err(Wrong::Text(name));
            }
        }
        let sound = match (order.action, order.lifts) {
            (Action::Kill, None) => true,
            (Action::Lift, Some(seq)) => {
                let killed = self.order(seq).is_some_and(|kill| kill.action == Action::Kill && kill.target == order.target);
                killed && !self.lifted.contains(&seq)
            }
            _ => false,
        };
        if sound { Ok(()) } else { Err(Wrong::Lifts) }
    }

    fn order(&self, seq: u64) -> Option<&Order> {
        self.orders.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    fn seq(&self) -> u64 {
        u64::try_from(self.orders.len()).unwrap_or(u64::MAX)
    }

    /// All orders so far.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The last sequence number, 0 if there is none, and what the next line must name as its predecessor.
    #[must_use]
    pub fn head(&self) -> (u64, Digest) {
        (self.seq(), self.head)
    }
}

/// The kill log of a data directory.
#[derive(Debug)]
pub struct KillLog {
    verified: Verifier,
    lines: Vec<String>,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    key: SigningKey,
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
        let dir = data_dir.join("kill");
        let path = dir.join("log.jws");
        create_dirs(&Disk, &dir).map_err(KillLogError::io(&dir, "create"))?;
        let lock = Lock::take(&dir.join("LOCK")).map_err(|refused| match refused {
            NotLocked::Held(holder) => KillLogError::Locked { file: path.clone(), holder },
            NotLocked::Io(source) => KillLogError::Io { path: dir.join("LOCK"), what: "lock", source },
        })?;
        let key = SigningKey::load_or_create(&data_dir.join("keys").join("kill.key"))?;
        publish(&dir, &key)?;
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&path);
        let file = open.map_err(KillLogError::io(&path, "open"))?;
        Disk.fsync_dir(&dir).map_err(KillLogError::io(&dir, "fsync"))?;
        let (verified, lines, length) = read(&path, key.verifying_key())?;
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
        let NewOrder { at, target, reason, ticket, by, lifts } = new;
        let (seq, prev) = self.verified.head();
        let action = if lifts.is_some() { Action::Lift } else { Action::Kill };
        let order = Order { seq: seq.saturating_add(1), at, action, target, reason, ticket, by, lifts, prev };
        self.verified.check(&order)?;
        let payload = serde_json::to_vec(&order).map_err(|error| Wrong::Shape(error.to_string()))?;
        let line = writer.key.sign_compact(&[("typ", TYPE.into())], &payload);
        // What could not be read back is not written either.
        let mut verified = self.verified.verify(&line).map(|_| line)?;
        verified.push('\n');
        writer.write(verified.as_bytes())?;
        verified.pop();
        self.verified.push(&verified)?;
        self.lines.push(verified);
        Ok(self.verified.orders.last().ok_or(Wrong::NotJws)?)
    }

    /// Whether an order could be given now: open for writing, and no earlier write failed.
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
        &self.verified.key
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

/// Verifies all whole lines; also says how many bytes they have.
fn read(path: &Path, key: VerifyingKey) -> Result<(Verifier, Vec<String>, u64), KillLogError> {
    let bytes = std::fs::read(path).map_err(KillLogError::io(path, "read"))?;
    let mut verified = Verifier::new(key);
    let mut lines = Vec::new();
    let mut length: u64 = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // Without its newline the line was never finished, hence nobody was told that it was durable.
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let number = verified.seq().saturating_add(1);
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
    let x = BASE64URL_NOPAD.decode(jwk.get("x")?.as_str()?.as_bytes()).ok()?;
    VerifyingKey::from_bytes(&x.try_into().ok().filter(|_| okp)?).ok()
}

/// Leaves the public key beside the log, so that readers need no access to the private one. Refuses another key than the one there:
/// the lines would not verify.
fn publish(dir: &Path, key: &SigningKey) -> Result<(), KillLogError> {
    let path = public_key_path(dir);
    match std::fs::read(&path) {
        Ok(text) if parse_public(&text) == Some(key.verifying_key()) => Ok(()),
        Ok(_) => Err(KillLogError::PublicKey(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let draft = path.with_extension("new");
            let written = std::fs::write(&draft, key.public_jwk().to_string())
                .and_then(|()| File::open(&draft)?.sync_all())
                .and_then(|()| std::fs::rename(&draft, &path));
            written.map_err(KillLogError::io(&path, "write"))
        }
        Err(error) => Err(KillLogError::io(&path, "read")(error)),
    }
}

#[cfg(test)]
#[path = "kill_log_tests.rs"]
mod tests;
