//! One writer per directory: an advisory lock that the kernel drops with the process, and a note in it that says whose it is.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Held while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
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
        write_holder(&mut file).map_err(NotLocked::Io)?;
        Ok(Self { _file: file })
    }
}

fn read_holder(file: &File) -> Holder {
    let mut text = String::new();
    // Bounded: whatever the file has become, an error message stays short. A reader that fails leaves the name out.
    let _ = file.take(200).read_to_string(&mut text);
    Holder(text.trim().replace('\n', " "))
}

fn write_holder(file: &mut File) -> io::Result<()> {
    // The boot id tells a stale note (the machine restarted, another process has that number now) from a living holder.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid={}\nboot={}", std::process::id(), boot.trim())
}
