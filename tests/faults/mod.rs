//! Rows of `standards/evidence.md` E that need a process, a disk or a network. `docs/faults.md` has all rows, each with its test.

mod clock;
mod disks;
mod flips;
mod forks;
pub(crate) mod kills;
mod sizes;
mod syscalls;
mod table;
mod witnesses;

use std::path::Path;
use std::sync::Arc;

use countersign::evidence::{EvidenceLog, LogOptions};
use countersign::publisher::keys::log::LogKey;

const ORIGIN: &str = "log.example/evidence/eu/r1";

fn signed(dir: &Path) -> LogOptions {
    let key = Some(Arc::new(LogKey::from_seed(&[1; 32])));
    LogOptions { reserve_bytes: 0, segment_bytes: 1 << 20, key, ..LogOptions::new(dir, ORIGIN) }
}

fn append(log: &EvidenceLog, records: impl Iterator<Item = String>) {
    let appends: Vec<_> = records.map(|record| log.append(record.as_bytes(), &[])).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    appends.into_iter().for_each(|append| drop(runtime.block_on(append).unwrap()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}
