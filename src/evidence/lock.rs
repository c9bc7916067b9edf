//! One writer per directory: an advisory lock that the kernel drops with the process, and a note in it that says whose it is.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Held while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    note: String,
}

/// Who holds a lock, as its file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder(String);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "a process that has not written its name yet" } else { &self.0 })
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum NotLocked {
    Held(Holder),
    Io(io::Error),
}

impl Lock {
    /// Takes the lock or says who has it; never waits.
    pub(crate) fn take(path: &Path) -> Result<Self, NotLocked> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(path);
        let mut file = open.map_err(NotLocked::Io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NotLocked::Held(read_holder(&file))),
            Err(error) => return Err(NotLocked::Io(error.into())),
        }
        let note = write_holder(&mut file).map_err(NotLocked::Io)?;
        Ok(Self { file, path: path.to_owned(), note })
    }

    /// Whether nobody has taken it over: by removing the file, or on a file system that does not lock.
    pub(crate) fn is_ours(&self) -> io::Result<bool> {
        let (ours, named) = (self.file.metadata()?, std::fs::metadata(&self.path)?);
        Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()) && std::fs::read(&self.path)? == self.note.as_bytes())
    }
}

fn read_holder(file: &File) -> Holder {
    let mut text = String::new();
    // Bounded: whatever the file has become, an error message stays short. A reader that fails leaves the name out.
    let _ = file.take(200).read_to_string(&mut text);
    Holder(text.trim().replace('\n', " "))
}

fn write_holder(file: &mut File) -> io::Result<String> {
    // The boot id tells a stale note (the machine restarted, another process has that number now) from a living holder; the third line
    // tells containers apart, where all are process 1.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let run = RandomState::new().hash_one(0);
    let note = format!("pid={}\nboot={}\nrun={run:016x}\n", std::process::id(), boot.trim());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(note.as_bytes())?;
    Ok(note)
}
