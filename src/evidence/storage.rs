//! The few operations that the writer asks of a file system, as a seam for fault injection: tests put in errors, short writes and hangs,
//! and read the order of operations from a trace. Reading goes straight to `std::fs`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// A file system.
pub(crate) trait Storage: Send + Sync + 'static {
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a file that exists, to write to it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Creates a directory that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in the same directory, in the place of whatever has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn fsync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that an unprivileged process may still write to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A file being written.
pub(crate) trait StorageFile: Send {
    /// Reserves the space and makes the file that long; what is not written reads as zeros.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Writes some of the bytes; says how many.
    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Makes the contents durable.
    fn fdatasync(&self) -> io::Result<()>;
    /// Makes the contents and the attributes durable.
    fn fsync(&self) -> io::Result<()>;
    /// Sets the length.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Whether `path` still names this file.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// The real one.
pub(crate) struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        // 0640: records name clients and addresses; the group is for whoever ships or audits the log.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

struct DiskFile(File);

impl StorageFile for DiskFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            // A file system without fallocate: the length alone, so that the tail reads as zeros as everywhere else.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(bytes),
            other => Ok(other?),
        }
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.0.write_at(bytes, at)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn fsync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let ours = self.0.metadata()?;
        match std::fs::metadata(path) {
            Ok(named) => Ok(ours.nlink() > 0 && (ours.dev(), ours.ino()) == (named.dev(), named.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes all the bytes, however short each write comes out.
pub(crate) fn write_all(file: &dyn StorageFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.pwrite(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at = at.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes again what is read from this part of the file: after an error of fdatasync pages that never reached the disk are in the cache and
/// count as written, and another fdatasync would call them durable.
pub(crate) fn rewrite(file: &dyn StorageFile, path: &Path, from: u64, to: u64) -> io::Result<()> {
    let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    write_all(file, &super::scan::read_at(&File::open(path)?, from, length)?, from)
}

/// Whether the error says that space ran out, which passes, unlike all others. A limit on the size of files (EFBIG) can be raised too.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Creates a directory and its parents, making each new name durable. That of one that is there is made durable again: who created
/// it may have been killed before it was, and what is then written into it would be lost with it.
pub(crate) fn create_dirs(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !path.is_dir() {
        create_dirs(storage, parent)?;
        match storage.create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    match storage.fsync_dir(parent) {
        // A parent that we may not list is somebody else's, who made this directory for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Opens a file to write to it, or creates it.
pub(crate) fn open_or_create(storage: &dyn Storage, path: &Path) -> io::Result<Box<dyn StorageFile>> {
    match storage.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(path),
        other => other,
    }
}

/// Reads a file of JSON; `None` when there is none.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`replace_file`], of a value as JSON.
pub(crate) fn replace_json<T: serde::Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    replace_file(&Disk, dir, name, &(serde_json::to_string_pretty(value)? + "\n"))
}

/// Puts a text in the place of another, whole or not at all, and durably.
pub(crate) fn replace_file(storage: &dyn Storage, dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let file = open_or_create(storage, &draft)?;
    file.truncate(0)?;
    write_all(file.as_ref(), text.as_bytes(), 0)?;
    file.fdatasync()?;
    storage.rename(&draft, &dir.join(name))?;
    storage.fsync_dir(dir)
}
