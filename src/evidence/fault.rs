//! A file system for tests: the real one, with a trace of what was asked of it, faults, and power cuts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

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

#[derive(Default)]
struct State {
    trace: Mutex<Vec<Op>>,
    faults: Mutex<Faults>,
    thawed: Condvar,
    unsynced: Mutex<HashMap<PathBuf, Vec<(u64, usize)>>>,
    unnamed: Mutex<Vec<PathBuf>>,
}

#[derive(Clone, Default)]
pub(crate) struct Faulty(Arc<State>);

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

    /// Copies the directory as a power cut at this moment might leave it: files whose names were not made durable are gone, and of
    /// the bytes that were not, each sector is there or not, as the seed has it.
    pub(crate) fn power_cut(&self, from: &Path, to: &Path, seed: &mut u64) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                self.power_cut(&path, &target, seed);
            } else if !self.0.unnamed.lock().unwrap().contains(&path) {
                let mut bytes = std::fs::read(&path).unwrap();
                for (at, length) in self.0.unsynced.lock().unwrap().get(&path).into_iter().flatten() {
                    let start = usize::try_from(*at).unwrap();
                    let mut position = start;
                    while position < start + length {
                        let next = (position / 512 * 512 + 512).min(start + length);
                        if random(seed).is_multiple_of(2) {
                            bytes[position..next].fill(0);
                        }
                        position = next;
                    }
                }
                std::fs::write(&target, bytes).unwrap();
            }
        }
    }
}

/// A linear congruential generator: the same numbers in each run.
pub(crate) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

impl Storage for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.note(Op::Create(name(path)));
        self.0.unnamed.lock().unwrap().push(path.to_owned());
        Ok(Box::new(FaultyFile { file: Disk.create(path)?, path: path.to_owned(), storage: self.clone() }))
    }

    fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        self.note(Op::FsyncDir(name(path)));
        self.0.unnamed.lock().unwrap().retain(|unnamed| unnamed.parent() != Some(path));
        Disk.fsync_dir(path)
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

impl FaultyFile {
    fn synced(&self) {
        self.storage.0.unsynced.lock().unwrap().remove(&self.path);
    }
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
        let written = self.file.pwrite(&bytes[..most], at)?;
        self.storage.0.unsynced.lock().unwrap().entry(self.path.clone()).or_default().push((at, written));
        Ok(written)
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
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        drop(faults);
        self.file.fdatasync()?;
        self.synced();
        // Noted when it has returned: what must come after it must come after this.
        self.storage.note(Op::Fdatasync(name(&self.path)));
        Ok(())
    }

    fn fsync(&self) -> io::Result<()> {
        self.file.fsync()?;
        self.synced();
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
