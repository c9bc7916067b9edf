//! A file system for tests that fails: [`super::power`]'s, with a trace of what was asked of it, and faults.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use super::power::{Dice, Machine, Process, Tearing};
use super::storage::{Disk, Storage, StorageFile};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Create(String),
    Pwrite(String),
    Fdatasync(String),
    Fsync(String),
    FsyncDir(String),
    Truncate(String, u64),
}

#[derive(Default)]
pub(crate) struct Faults {
    /// Fail this many fdatasyncs with EIO once the countdown is over. The kernel forgets an error after reporting it.
    pub(crate) eio_on_sync: Option<(usize, usize)>,
    /// Write this many bytes, then report a full disk.
    pub(crate) full_after: Option<usize>,
    pub(crate) truncate_fails: bool,
    pub(crate) allocate_fails: bool,
    /// The most bytes that one write takes.
    pub(crate) short: Option<usize>,
    pub(crate) free: Option<u64>,
    /// Hang in fdatasync once the countdown is over, until cleared.
    pub(crate) hang: Option<usize>,
}

struct State {
    trace: Mutex<Vec<Op>>,
    faults: Mutex<Faults>,
    thawed: Condvar,
    machine: Machine,
    process: Process,
}

#[derive(Clone)]
pub(crate) struct Faulty(Arc<State>);

impl Default for Faulty {
    fn default() -> Self {
        let machine = Machine::default();
        let process = machine.process(None, None, &mut Dice::new(0));
        Self(Arc::new(State { trace: Mutex::default(), faults: Mutex::default(), thawed: Condvar::new(), machine, process }))
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Faulty {
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.faults.lock().unwrap());
        self.0.thawed.notify_all();
    }

    pub(crate) fn trace(&self) -> Vec<Op> {
        self.0.trace.lock().unwrap().clone()
    }

    fn note(&self, op: Op) {
        self.0.trace.lock().unwrap().push(op);
    }

    /// What a power cut at this moment might leave of a directory.
    pub(crate) fn power_cut(&self, from: &Path, to: &Path, seed: u64) {
        self.0.machine.lose_power(from, to, Tearing::Sectors, &mut Dice::new(seed));
    }

    fn file(&self, file: Box<dyn StorageFile>, path: &Path) -> Box<dyn StorageFile> {
        Box::new(FaultyFile { file, path: path.to_owned(), storage: self.clone() })
    }
}

impl Storage for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.note(Op::Create(name(path)));
        Ok(self.file(self.0.process.create(path)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(self.file(self.0.process.open(path)?, path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.process.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.process.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.process.remove(path)
    }

    fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        self.note(Op::FsyncDir(name(path)));
        self.0.process.fsync_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self.0.faults.lock().unwrap().free {
            Some(free) => Ok(free),
            None => Disk.free_bytes(path),
        }
    }
}

struct FaultyFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    storage: Faulty,
}

impl StorageFile for FaultyFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.storage.0.faults.lock().unwrap().allocate_fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.allocate(bytes)
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut faults = self.storage.0.faults.lock().unwrap();
        let mut most = faults.short.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(left) = &mut faults.full_after {
            if *left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            most = most.min(*left);
            *left -= most;
        }
        drop(faults);
        self.storage.note(Op::Pwrite(name(&self.path)));
        self.file.pwrite(&bytes[..most], at)
    }

    fn fdatasync(&self) -> io::Result<()> {
        let mut faults = self.storage.0.faults.lock().unwrap();
        while let Some(countdown) = &mut faults.hang {
            if *countdown > 0 {
                *countdown -= 1;
                break;
            }
            faults = self.storage.0.thawed.wait(faults).unwrap();
        }
        if let Some((countdown, times)) = &mut faults.eio_on_sync {
            if *countdown > 0 {
                *countdown -= 1;
            } else if *times > 0 {
                *times -= 1;
                self.storage.note(Op::Fdatasync(name(&self.path)));
                self.storage.0.process.fail_next_sync();
                return self.file.fdatasync();
            }
        }
        drop(faults);
        self.file.fdatasync()?;
        // Noted when it has returned: what must come after it must come after this.
        self.storage.note(Op::Fdatasync(name(&self.path)));
        Ok(())
    }

    fn fsync(&self) -> io::Result<()> {
        self.file.fsync()?;
        self.storage.note(Op::Fsync(name(&self.path)));
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        if self.storage.0.faults.lock().unwrap().truncate_fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.storage.note(Op::Truncate(name(&self.path), bytes));
        self.file.truncate(bytes)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }
}
