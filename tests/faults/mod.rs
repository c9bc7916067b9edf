//! Rows of `standards/evidence.md` E that need a process, a disk or a network: `docs/faults.md` has all of them.

mod syscalls;
