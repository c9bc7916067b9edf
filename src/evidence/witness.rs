//! A witness (c2sp.org/tlog-witness): remembers the newest checkpoint of each log that it knows, and cosigns only what continues it. So
//! a log whose witness runs elsewhere cannot be rolled back or shown in two versions without anybody noticing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64;

use super::lock::{Lock, NotLocked};
use super::merkle::{KeyKind, Note, PROOF_MAX, Signature, Vkey, empty_root, verify_consistency};
use super::notes::SignedCheckpoint;
use super::storage::{Disk, create_dirs, replace_file};
use crate::publisher::keys::KeyError;
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// The longest request: 63 hashes and a checkpoint with all the signatures that a note may have.
pub const REQUEST_MAX: usize = 384 << 10;

/// What a log asks a witness to cosign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddCheckpoint {
    /// How many records the witness knows of, as the log believes.
    pub old: u64,
    /// That the new tree continues that one.
    pub path: Vec<Digest>,
    /// The new checkpoint.
    pub note: Note,
}

impl AddCheckpoint {
    /// Reads the body of `add-checkpoint`.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body.get(..body.len().min(REQUEST_MAX))?).ok().filter(|_| body.len() <= REQUEST_MAX)?;
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ").and_then(super::merkle::decimal)?;
        let path = lines.map(super::merkle::hash).collect::<Option<Vec<Digest>>>().filter(|path| path.len() <= PROOF_MAX)?;
        Some(Self { old, path, note: Note::parse(note.as_bytes()).ok()? })
    }
}

impl std::fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash.as_bytes())))?;
        write!(f, "\n{}", self.note)
    }
}

/// Why a witness does not cosign. The status is that of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400.
    #[error("not an add-checkpoint request, or `old` is larger than the checkpoint (c2sp.org/tlog-witness)")]
    Malformed,
    /// 403.
    #[error("the checkpoint is not signed with the key of that log that this witness knows")]
    Unsigned,
    /// 404.
    #[error("this witness does not know a log of that origin")]
    UnknownLog,
    /// 409: the size that it knows.
    #[error("this witness knows {0} records of that log")]
    Conflict(u64),
    /// 422.
    #[error("the checkpoint does not continue the one that this witness knows")]
    Inconsistent,
    /// 500: nothing was cosigned.
    #[error("the new state could not be made durable: {0}")]
    Storage(#[from] io::Error),
}

/// A witness's keys and state.
#[derive(Debug)]
pub struct Witness {
    dir: PathBuf,
    key: LogKey,
    vkey: Vkey,
    logs: Vec<Vkey>,
    /// Looking at the state, checking, and writing the state are one step.
    turn: Mutex<()>,
    _lock: Lock,
}

/// Why a witness cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its name cannot be written into a note.
    #[error("the name is empty, too long, or has a space or a `+` (c2sp.org/signed-note)")]
    Name,
    /// Another process serves from the same state.
    #[error("{} is in use by another witness", .0.display())]
    Locked(PathBuf),
    /// The operating system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Witness {
    /// Opens a witness's directory, or makes one: its key, and a file for each log.
    ///
    /// # Errors
    /// As [`WitnessError`] says.
    pub fn open(dir: &Path, name: &str, logs: Vec<Vkey>) -> Result<Self, WitnessError> {
        let io = |source| WitnessError::Io { path: dir.to_owned(), source };
        create_dirs(&Disk, dir).map_err(io)?;
        let lock = Lock::take(&dir.join("LOCK")).map_err(|refused| match refused {
            NotLocked::Held(_) => WitnessError::Locked(dir.to_owned()),
            NotLocked::Io(error) => io(error),
        })?;
        let key = LogKey::load_or_create(&dir.join("witness.key"))?;
        let vkey = key.vkey(name, KeyKind::Cosignature).ok_or(WitnessError::Name)?;
        Ok(Self { dir: dir.to_owned(), key, vkey, logs, turn: Mutex::default(), _lock: lock })
    }

    /// Its public key.
    #[must_use]
    pub const fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Cosigns a checkpoint that continues what is known; the new state is durable before the cosignature exists. `now` in seconds since
    /// 1970.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn add(&self, body: &[u8], now: u64) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(body).ok_or(Refusal::Malformed)?;
        let new = SignedCheckpoint::parse(request.note.to_string().as_bytes()).ok_or(Refusal::Malformed)?.checkpoint;
        let keys: Vec<&Vkey> = self.logs.iter().filter(|key| key.name() == new.origin).collect();
        if keys.is_empty() {
            return Err(Refusal::UnknownLog);
        }
        request.note.verify(keys.iter().copied()).map_err(|_| Refusal::Unsigned)?;
        if request.old > new.size {
            return Err(Refusal::Malformed);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known(&new.origin)?;
        let (size, root) = known.map_or((0, empty_root()), |known| (known.checkpoint.size, known.checkpoint.root));
        if request.old != size {
            return Err(Refusal::Conflict(size));
        }
        verify_consistency(size, &root, new.size, &new.root, &request.path).map_err(|_| Refusal::Inconsistent)?;
        // The log's own signatures are kept: they are what shows that it said so.
        replace_file(&Disk, &self.dir, &file_of(&new.origin), &request.note.to_string())?;
        let mut cosigned = Note::new(request.note.text().to_owned(), Vec::new());
        // A time of 0 means that none is given.
        self.key.sign(&self.vkey, &mut cosigned, now.max(1));
        Ok(cosigned
            .signatures()
            .iter()
            .map(|signature| {
                format!(
                    "{signature}
"
                )
            })
            .collect())
    }

    /// The newest checkpoint of a log that it cosigned, for monitors; the log by the hex SHA-256 of its origin.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn newest(&self, origin_hash: &str) -> io::Result<Option<String>> {
        let known = self.logs.iter().find(|key| Digest::of(key.name().as_bytes()).hex() == origin_hash);
        Ok(known.map(|key| self.known(key.name())).transpose()?.flatten().map(|known| known.note.to_string()))
    }

    fn known(&self, origin: &str) -> io::Result<Option<SignedCheckpoint>> {
        let text = match std::fs::read(self.dir.join(file_of(origin))) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Damage is not the empty tree: that would let a log begin anew.
        SignedCheckpoint::parse(&text).map(Some).ok_or_else(|| io::Error::other("the state of this log is damaged"))
    }
}

fn file_of(origin: &str) -> String {
    format!("{}.checkpoint", Digest::of(origin.as_bytes()).hex())
}

/// The cosignatures in a witness's answer; lines that are none are an error of the witness.
#[must_use]
pub fn cosignatures(body: &str) -> Option<Vec<Signature>> {
    body.lines().map(Signature::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::merkle::{Checkpoint, Frontier};

    const ORIGIN: &str = "log.example/evidence/eu/r1/1";

    fn log() -> (LogKey, Vkey) {
        let key = LogKey::from_seed(&[1; 32]);
        let vkey = key.vkey(ORIGIN, KeyKind::Ed25519).unwrap();
        (key, vkey)
    }

    fn tree(leaves: &[&str]) -> Frontier {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(Digest::leaf(leaf.as_bytes())));
        tree
    }

    fn note(origin: &str, tree: &Frontier) -> Note {
        let (key, vkey) = log();
        let checkpoint = Checkpoint { origin: origin.into(), size: tree.size(), root: tree.root() };
        let mut note = Note::new(checkpoint.to_string(), Vec::new());
        key.sign(&vkey, &mut note, 0);
        note
    }

    fn request(old: u64, path: Vec<Digest>, note: Note) -> Vec<u8> {
        AddCheckpoint { old, path, note }.to_string().into_bytes()
    }

    #[track_caller]
    fn refused(witness: &Witness, body: &[u8], expect: &str) {
        let told = format!("{:?}", witness.add(body, 5).unwrap_err());
        assert!(told.starts_with(expect), "{told}");
    }

    #[test]
    fn row_12_it_cosigns_what_continues_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Witness::open(dir.path(), "w.example", vec![log().1]);
        let witness = open().unwrap();
        assert!(matches!(open(), Err(WitnessError::Locked(_))));
        let (one, two, forked) = (tree(&["a"]), tree(&["a", "b"]), tree(&["a", "c"]));
        let leaf = |text: &str| Digest::leaf(text.as_bytes());
        refused(&witness, b"old 0\n", "Malformed");
        refused(&witness, &request(0, vec![], note("other", &one)), "UnknownLog");
        let mut unsigned = note(ORIGIN, &one);
        unsigned = Note::new(unsigned.text().replace('1', "2"), unsigned.signatures().to_vec());
        refused(&witness, &request(0, vec![], unsigned), "Un");
        refused(&witness, &request(2, vec![], note(ORIGIN, &one)), "Malformed");
        refused(&witness, &request(1, vec![], note(ORIGIN, &one)), "Conflict(0)");
        refused(&witness, &request(0, vec![leaf("x")], note(ORIGIN, &one)), "Inconsistent");
        let lines = witness.add(&request(0, vec![], note(ORIGIN, &one)), 5).unwrap();
        let mut cosigned = note(ORIGIN, &one);
        cosignatures(&lines).unwrap().into_iter().for_each(|signature| cosigned.add(signature));
        let times: Vec<_> = cosigned.verify([&log().1, witness.vkey()]).unwrap().iter().map(|by| by.time).collect();
        assert_eq!(times, [None, Some(5)]);
        refused(&witness, &request(0, vec![], note(ORIGIN, &two)), "Conflict(1)");
        refused(&witness, &request(1, vec![], note(ORIGIN, &two)), "Inconsistent");
        witness.add(&request(1, vec![leaf("b")], note(ORIGIN, &two)), 6).unwrap();
        // Another tree of the same size, and the state of before.
        refused(&witness, &request(2, vec![], note(ORIGIN, &forked)), "Inconsistent");
        refused(&witness, &request(1, vec![leaf("c")], note(ORIGIN, &forked)), "Conflict(2)");
        // The same again is fine: the answer may have been lost.
        witness.add(&request(2, vec![], note(ORIGIN, &two)), 7).unwrap();
        drop(witness);
        let witness = open().unwrap();
        refused(&witness, &request(0, vec![], note(ORIGIN, &forked)), "Conflict(2)");
        let hash = Digest::of(ORIGIN.as_bytes()).hex();
        assert_eq!(witness.newest(&hash).unwrap(), Some(note(ORIGIN, &two).to_string()));
        assert_eq!(witness.newest("LOCK").unwrap(), None);
        std::fs::write(dir.path().join(file_of(ORIGIN)), "damaged").unwrap();
        refused(&witness, &request(0, vec![], note(ORIGIN, &forked)), "Storage");
    }
}
