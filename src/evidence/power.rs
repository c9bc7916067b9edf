//! A machine for tests whose processes are killed and whose power fails.
//!
//! What programs see is a real directory: they read it with `std::fs`. What would survive a power cut is kept beside it:
//!
//! - of a file, what was there when it was last made durable, and of the changes since then **any subset**: each sector of 512 bytes
//!   of each write by itself, each change of length by itself. With [`Tearing::Bytes`] each byte by itself, or the first so many,
//!   which is more than disks do and more than recovery promises to mend.
//! - of a directory, the names that were there when it was last made durable, and any subset of what was done to names since then.
//!   An fsync of a file makes its name no more durable (POSIX does not say that it does).
//!
//! A killed process leaves everything in the page cache, where its successor finds it, durable or not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::storage::{Disk, Storage, StorageFile};

/// A linear congruential generator: the same numbers in each run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn coin(&mut self) -> bool {
        self.one_in(2)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(long(from.len()))).unwrap()]
    }
}

pub(crate) fn long(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

/// How writes tear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tearing {
    Sectors,
    Bytes,
}

/// What a storage says and does not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lies {
    /// fsync of directories.
    pub(crate) names: bool,
    /// fdatasync and fsync of files.
    pub(crate) contents: bool,
}

enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
    AtLeast(usize),
}

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Copy)]
enum Node {
    File(usize),
    Dir,
}

enum NameChange {
    Add(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Default)]
struct DirState {
    durable: Names,
    pending: Vec<NameChange>,
}

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    dirs: BTreeMap<PathBuf, DirState>,
    live: Names,
}

/// A machine: its disk, and what of it is durable.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    state: Arc<Mutex<State>>,
    lies: Lies,
}

impl Machine {
    pub(crate) fn lying(lies: Lies) -> Self {
        Self { lies, ..Self::default() }
    }

    /// A process that dies in the midst of its so-manieth operation, and hears of an error from its so-manieth sync of a file, if it is
    /// given either.
    pub(crate) fn process(&self, dies_at: Option<u64>, fails_at: Option<u64>, dice: &mut Dice) -> Process {
        let dice = Dice::new(dice.below(1 << 30));
        let fate = Fate { left: dies_at, syncs_left: fails_at, dead: false, failed: false, dice };
        Process { machine: self.clone(), fate: Arc::new(Mutex::new(fate)) }
    }

    /// Cuts the power. What survives of `from` is put at `to`, and is the disk of the machine that comes up.
    pub(crate) fn lose_power(&self, from: &Path, to: &Path, tearing: Tearing, dice: &mut Dice) -> Self {
        let next = Self { lies: self.lies, ..Self::default() };
        self.survivors(from, to, tearing, dice, &mut next.state.lock().unwrap());
        next
    }

    fn survivors(&self, from: &Path, to: &Path, tearing: Tearing, dice: &mut Dice, next: &mut State) {
        std::fs::create_dir_all(to).unwrap();
        let state = self.state.lock().unwrap();
        let mut names = Names::new();
        if let Some(dir) = state.dirs.get(from) {
            names.clone_from(&dir.durable);
            dir.pending.iter().filter(|_| dice.coin()).for_each(|change| change.apply(&mut names));
        }
        let files: Vec<_> = names
            .iter()
            .filter_map(|(path, node)| match node {
                Node::File(id) => Some((path.clone(), state.files[*id].survives(tearing, dice))),
                Node::Dir => None,
            })
            .collect();
        drop(state);
        for (path, bytes) in files {
            let path = to.join(path.file_name().unwrap());
            std::fs::write(&path, &bytes).unwrap();
            let node = Node::File(next.files.len());
            next.files.push(FileState { durable: bytes, pending: Vec::new() });
            next.live.insert(path.clone(), node);
            next.dirs.entry(to.to_owned()).or_default().durable.insert(path, node);
        }
        for path in names.iter().filter(|(_, node)| matches!(node, Node::Dir)).map(|(path, _)| path) {
            let target = to.join(path.file_name().unwrap());
            next.dirs.entry(to.to_owned()).or_default().durable.insert(target.clone(), Node::Dir);
            self.survivors(path, &target, tearing, dice, next);
        }
    }

    fn name(&self, path: &Path, change: impl FnOnce(&mut State) -> NameChange) {
        let mut state = self.state.lock().unwrap();
        let change = change(&mut state);
        change.apply(&mut state.live);
        state.dirs.entry(path.parent().unwrap().to_owned()).or_default().pending.push(change);
    }

    fn changed(&self, id: usize, change: Change) {
        self.state.lock().unwrap().files[id].pending.push(change);
    }

    /// As after an error of fdatasync: what was written since the last good one is in the page cache, called clean, and never
    /// reaches the disk.
    fn drop_dirty(&self, id: usize) {
        self.state.lock().unwrap().files[id].pending.clear();
    }

    fn synced(&self, id: usize) {
        if !self.lies.contents {
            let mut state = self.state.lock().unwrap();
            let FileState { durable, pending } = &mut state.files[id];
            pending.drain(..).for_each(|change| change.apply(durable));
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { at, bytes } => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length(length) => content.resize(*length, 0),
            Self::AtLeast(length) => content.resize(content.len().max(*length), 0),
        }
    }
}

impl FileState {
    fn survives(&self, tearing: Tearing, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.durable.clone();
        let mut lengths = vec![content.len()];
        // All, none, or each by itself.
        let keeping = dice.below(4);
        for change in &self.pending {
            let before = lengths[lengths.len() - 1];
            let (at, new, length) = match change {
                Change::Bytes { at, bytes } => (*at, bytes.clone(), before.max(at + bytes.len())),
                // What is cut off reads as zeros when the file grows again.
                Change::Length(length) => (*length, vec![0; content.len().saturating_sub(*length)], *length),
                Change::AtLeast(length) => (0, Vec::new(), before.max(*length)),
            };
            lengths.push(length);
            content.resize(content.len().max(at + new.len()).max(length), 0);
            let first = match (tearing, dice.coin()) {
                (Tearing::Bytes, true) => usize::try_from(dice.below(long(new.len()) + 1)).unwrap(),
                _ => 0,
            };
            content[at..at + first].copy_from_slice(&new[..first]);
            let mut position = if first > 0 { at + new.len() } else { at };
            while position < at + new.len() {
                let unit = if tearing == Tearing::Bytes { 1 } else { 512 };
                let end = ((position / unit + 1) * unit).min(at + new.len());
                if keeping == 0 || (keeping > 1 && dice.coin()) {
                    content[position..end].copy_from_slice(&new[position - at..end - at]);
                }
                position = end;
            }
        }
        content.resize(dice.pick(&lengths), 0);
        content
    }
}

struct Fate {
    left: Option<u64>,
    syncs_left: Option<u64>,
    dead: bool,
    failed: bool,
    dice: Dice,
}

/// A process and its file system calls.
#[derive(Clone)]
pub(crate) struct Process {
    machine: Machine,
    fate: Arc<Mutex<Fate>>,
}

/// A process that is alive has its call done; one that dies in it perhaps, and never hears.
#[derive(PartialEq, Eq)]
enum Doing {
    Done,
    DoneUnheard,
}

impl Process {
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub(crate) fn kill(&self) {
        self.fate.lock().unwrap().dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.fate.lock().unwrap().dead
    }

    /// Whether it heard of an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.fate.lock().unwrap().failed
    }

    /// The next sync of a file fails, once.
    pub(crate) fn fail_next_sync(&self) {
        self.fate.lock().unwrap().syncs_left = Some(0);
    }

    /// Whether this sync is the one that fails.
    fn sync_fails(&self) -> bool {
        let mut fate = self.fate.lock().unwrap();
        let fails = fate.syncs_left == Some(0);
        fate.syncs_left = fate.syncs_left.and_then(|left| left.checked_sub(1));
        fate.failed |= fails;
        fails
    }

    fn call(&self) -> io::Result<Doing> {
        let mut fate = self.fate.lock().unwrap();
        if fate.dead {
            return Err(dead());
        }
        match &mut fate.left {
            Some(0) => {
                fate.dead = true;
                if fate.dice.coin() { Ok(Doing::DoneUnheard) } else { Err(dead()) }
            }
            Some(left) => {
                *left -= 1;
                Ok(Doing::Done)
            }
            None => Ok(Doing::Done),
        }
    }

    fn file(&self, file: Box<dyn StorageFile>, id: usize) -> Box<dyn StorageFile> {
        Box::new(ProcessFile { file, id, process: self.clone() })
    }

    fn calling<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let doing = self.call()?;
        let done = work()?;
        if doing == Doing::Done { Ok(done) } else { Err(dead()) }
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl Storage for Process {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.calling(|| {
            let file = Disk.create(path)?;
            let mut id = 0;
            self.machine.name(path, |state| {
                id = state.files.len();
                state.files.push(FileState::default());
                NameChange::Add(path.to_owned(), Node::File(id))
            });
            Ok(self.file(file, id))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.calling(|| {
            let file = Disk.open(path)?;
            let Some(Node::File(id)) = self.machine.state.lock().unwrap().live.get(path).copied() else {
                panic!("{} was not made through this storage", path.display())
            };
            Ok(self.file(file, id))
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.calling(|| {
            Disk.create_dir(path)?;
            self.machine.name(path, |_| NameChange::Add(path.to_owned(), Node::Dir));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.calling(|| {
            Disk.rename(from, to)?;
            self.machine.name(to, |state| NameChange::Rename(from.to_owned(), to.to_owned(), state.live[from]));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.calling(|| {
            Disk.remove(path)?;
            self.machine.name(path, |_| NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        self.calling(|| {
            let mut state = self.machine.state.lock().unwrap();
            if let Some(DirState { durable, pending }) = state.dirs.get_mut(path).filter(|_| !self.machine.lies.names) {
                pending.drain(..).for_each(|change| change.apply(durable));
            }
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct ProcessFile {
    file: Box<dyn StorageFile>,
    id: usize,
    process: Process,
}

impl ProcessFile {
    fn sync(&self) -> io::Result<()> {
        self.process.calling(|| {
            if self.process.sync_fails() {
                self.process.machine.drop_dirty(self.id);
                return Err(io::Error::from_raw_os_error(5));
            }
            self.process.machine.synced(self.id);
            Ok(())
        })
    }
}

impl StorageFile for ProcessFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.process.calling(|| {
            self.file.allocate(bytes)?;
            self.process.machine.changed(self.id, Change::AtLeast(usize::try_from(bytes).unwrap()));
            Ok(())
        })
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let doing = self.process.call()?;
        let whole = long(bytes.len());
        // Who dies in the midst has written some of it.
        let some = match doing {
            Doing::Done => whole,
            Doing::DoneUnheard => self.process.fate.lock().unwrap().dice.below(whole + 1),
        };
        let bytes = &bytes[..usize::try_from(some).unwrap()];
        let written = self.file.pwrite(bytes, at)?;
        let at = usize::try_from(at).unwrap();
        self.process.machine.changed(self.id, Change::Bytes { at, bytes: bytes[..written].to_vec() });
        if doing == Doing::Done { Ok(written) } else { Err(dead()) }
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.sync()
    }

    fn fsync(&self) -> io::Result<()> {
        self.sync()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.process.calling(|| {
            self.file.truncate(bytes)?;
            self.process.machine.changed(self.id, Change::Length(usize::try_from(bytes).unwrap()));
            Ok(())
        })
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }
}
