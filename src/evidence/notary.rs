//! Signing checkpoints, on a thread of its own: about one a second, when there are new records, and one on closing.
//!
//! What is signed is what can be read back. The thread reads the records that came since the last checkpoint from the files, hashes
//! them again and compares the tree with the one that the writer made of what it was given: a difference means that bytes changed on
//! their way to the disk, and ends all signing. The tree only ever grows from the one that was signed last, so no checkpoint
//! contradicts an earlier one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::batch::lock;
use super::error::{OpenError, ReadError};
use super::log::Shared;
use super::merkle::{Checkpoint, Frontier, KeyKind, Note, Vkey};
use super::notes::{self, Notes, SignedCheckpoint};
use super::place::Elsewhere;
use super::read::{LogReader, Records};
use super::storage::Storage;
use super::stored_tree::{TreeFiles, TreeReader};
use crate::publisher::keys::log::LogKey;

/// Why a log is not gone on with: another epoch begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The epoch that ended.
    pub epoch: u32,
    /// How many records it has here.
    pub found: u64,
    /// The checkpoint that was signed for it.
    pub known: Checkpoint,
    /// What is wrong, in words.
    pub reason: &'static str,
}

/// What an epoch's tree and its signing go on from.
pub(crate) struct Origin {
    evidence: PathBuf,
    epoch: u32,
    key: Arc<LogKey>,
    vkey: Vkey,
    /// The tree that was signed last.
    signed: Frontier,
    /// Where `checkpoints` ends.
    notes_end: u64,
    pub(crate) last: Option<SignedCheckpoint>,
    /// The tree of all records.
    pub(crate) tree: Frontier,
}

impl Origin {
    /// Compares an epoch that has `size` records with the last checkpoint that was signed for it, and with what is known of it elsewhere.
    pub(crate) fn find(
        evidence: &Path,
        name: &str,
        epoch: u32,
        size: u64,
        key: &Arc<LogKey>,
        elsewhere: &[Elsewhere],
    ) -> Result<Result<Self, Gap>, OpenError> {
        let vkey = key.vkey(name, KeyKind::Ed25519).ok_or(OpenError::Origin)?;
        let found = notes::last(evidence, epoch)?;
        let (last, notes_end) = found.map_or((None, 0), |(last, end)| (Some(last), end));
        let reader = LogReader::of_records(evidence);
        let mut signed = Frontier::default();
        if let Some(SignedCheckpoint { checkpoint, note }) = &last {
            let gap = |reason| Gap { epoch, found: size, known: checkpoint.clone(), reason };
            if checkpoint.origin != name || note.verify([&vkey]).is_err() {
                return Ok(Err(gap("the last checkpoint was not signed with this log's key")));
            }
            if checkpoint.size > size {
                return Ok(Err(gap("records that a checkpoint was signed for are not there")));
            }
            match signed_tree(&reader, epoch, checkpoint)? {
                Some(tree) => signed = tree,
                None => return Ok(Err(gap("the records are not those that a checkpoint was signed for"))),
            }
        }
        for Elsewhere { checkpoint: known, .. } in elsewhere.iter().filter(|known| known.epoch == epoch) {
            let gap = |reason| Gap { epoch, found: size, known: known.clone(), reason };
            if known.origin != name {
                return Ok(Err(gap("what was published elsewhere is of a log of another name")));
            }
            if known.size > size {
                return Ok(Err(gap("records that were published elsewhere are not there")));
            }
            if signed_tree(&reader, epoch, known)?.is_none() {
                return Ok(Err(gap("the records are not those that were published elsewhere")));
            }
        }
        let mut tree = signed.clone();
        extend(&mut tree, &mut reader.records(epoch, signed.size())?, size, |_, _| Ok(()))?;
        let (evidence, key) = (evidence.to_owned(), Arc::clone(key));
        Ok(Ok(Self { evidence, epoch, key, vkey, signed, notes_end, last, tree }))
    }
}

/// The tree of a checkpoint, if the records have its root. Stored hashes that do not lead there are in doubt themselves: then it is
/// made from the records.
fn signed_tree(reader: &LogReader, epoch: u32, checkpoint: &Checkpoint) -> Result<Option<Frontier>, ReadError> {
    for tree in [TreeReader::new(reader, epoch), TreeReader::from_records(reader, epoch)] {
        let frontier = Frontier::read(&tree, checkpoint.size)?;
        if frontier.root() == checkpoint.root {
            return Ok(Some(frontier));
        }
    }
    Ok(None)
}

/// Reads records into a tree until it has `size` of them, telling of each subtree that is complete.
fn extend(
    tree: &mut Frontier,
    records: &mut Records<'_>,
    size: u64,
    mut completed: impl FnMut(super::merkle::Node, &crate::values::Digest) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    while tree.size() < size {
        let Some(record) = records.next().transpose()?.filter(|record| record.index == tree.size()) else {
            return Err(ReadError::io("wal")(std::io::Error::other("records end before those that were made durable")));
        };
        let mut outcome = Ok(());
        tree.push_telling(crate::values::Digest::leaf(&record.bytes), |node, hash| {
            if outcome.is_ok() {
                outcome = completed(node, &hash);
            }
        });
        outcome?;
    }
    Ok(())
}

/// The thread's handle, which the writer holds.
pub(crate) struct Notary {
    signal: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Sign what there is, then end.
    Finish,
    Abandon,
}

impl Notary {
    /// Signs once in `every`, when there are new records.
    pub(crate) fn start(
        shared: Arc<Shared>,
        origin: Origin,
        storage: Arc<dyn Storage>,
        every: Duration,
    ) -> std::io::Result<Self> {
        let signal = Arc::new((Mutex::new(State::Running), Condvar::new()));
        let waiting = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("notary".to_owned()).spawn(move || {
            if let Err(error) = work(&shared, origin, &storage, every, &waiting) {
                tracing::error!(%error, log = %shared.name(), "no more checkpoints are signed");
                shared.stop_signing(error.to_string());
            }
        })?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// Signs what is durable now, then ends the thread.
    pub(crate) fn finish(mut self) {
        self.end(State::Finish);
    }

    fn end(&mut self, state: State) {
        *lock(&self.signal.0) = state;
        self.signal.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic leaves the last checkpoint as it is: nothing worse than none.
            let _ = thread.join();
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.end(State::Abandon);
    }
}

fn work(
    shared: &Shared,
    origin: Origin,
    storage: &Arc<dyn Storage>,
    every: Duration,
    signal: &(Mutex<State>, Condvar),
) -> Result<(), ReadError> {
    let Origin { evidence, epoch, key, vkey, signed: mut tree, notes_end, .. } = origin;
    let reader = LogReader::of_records(&evidence);
    let mut records = reader.records(epoch, tree.size())?;
    let at = |error| ReadError::io(&evidence)(error);
    let mut files = TreeFiles::open(storage, &evidence, epoch, tree.size()).map_err(at)?;
    let mut notes = Notes::open(storage, &evidence, epoch, notes_end, &vkey).map_err(at)?;
    loop {
        let state = {
            let waited = signal.1.wait_timeout_while(lock(&signal.0), every, |state| *state == State::Running);
            *waited.unwrap_or_else(PoisonError::into_inner).0
        };
        let written = shared.tree();
        if state != State::Abandon && written.size() > tree.size() {
            extend(&mut tree, &mut records, written.size(), |node, hash| files.store(node, hash).map_err(at))?;
            if tree != written {
                return Err(at(std::io::Error::other("the records on disk are not those that were appended")));
            }
            files.sync().map_err(at)?;
            let checkpoint = Checkpoint { origin: vkey.name().to_owned(), size: tree.size(), root: tree.root() };
            let mut note = Note::new(checkpoint.to_string(), Vec::new());
            key.sign(&vkey, &mut note, 0);
            notes.append(&note).map_err(at)?;
            shared.publish(SignedCheckpoint { checkpoint, note });
        }
        if state != State::Running {
            return Ok(());
        }
    }
}
