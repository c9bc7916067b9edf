//! Sealing: ranges of records become files; small files become larger ones.
//!
//! Nothing counts before the manifest names it, and what it no longer names is removed after it was replaced. So a crash anywhere leaves
//! left-overs at most, which the next run removes, and that run ends with the same files.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::draft::{Draft, Made};
use super::entry::{Entry, Found, Joiner};
use super::manifest::{Listed, Manifest};
use super::{SealedError, columns};
use crate::archive::{ArchiveError, DataDir};
use crate::evidence::{Lock, NotLocked};
use crate::values::Timestamp;

/// Rows that are made into one batch: the arrays of a whole range would double what sealing holds.
pub(super) const BATCH_ROWS: usize = 8_192;

/// How to seal.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The verifier's region: a directory.
    pub region: String,
    /// Records of a range; the tiles of the log have as many.
    pub range: u64,
    /// So many files of about one size are merged.
    pub fan_in: usize,
}

impl Sealing {
    /// With ranges of 65,536 records, merged by sixteen into files of a million rows, and those into files of sixteen million.
    #[must_use]
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), range: 65_536, fan_in: 16 }
    }

    /// Where the range ends that begins here. Of what has piled up, half a million records become one file at once, which is of the
    /// second level already: each row is written once less, and sealing catches up. With what they rest on they are some 200 MB while
    /// they are sorted, when a log is behind by so much, and only then.
    fn end_of_range(&self, first: u64, until: u64) -> u64 {
        let ends = |range: u64| (first / range).saturating_add(1).saturating_mul(range);
        let half = self.range.saturating_mul(u64::try_from(self.fan_in / 2).unwrap_or(1));
        let piled_up = first.is_multiple_of(half) && until >= first.saturating_add(half);
        ends(if piled_up { half } else { self.range }).min(until)
    }

    /// Files of the last level stay as they are.
    fn level(&self, rows: u64) -> usize {
        let fan_in = u64::try_from(self.fan_in).unwrap_or(u64::MAX);
        let million = self.range.saturating_mul(fan_in);
        let most = [million / 2, million.saturating_mul(fan_in) / 2];
        most.iter().filter(|most| rows >= **most).count()
    }
}

/// The last level, whose files are not merged any more.
const LAST_LEVEL: usize = 2;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Records sealed.
    pub rows: u64,
    /// Files written for them.
    pub files: u64,
    /// Merges of files.
    pub merges: u64,
    /// Whether it was told to stop before all was done.
    pub stopped: bool,
}

/// Seals what the writer has left. `go_on` is asked before each change of a directory; `false` ends the work there.
///
/// Only one may seal at a time: whoever holds the log's lock.
///
/// # Errors
/// When the log cannot be read or a file cannot be written.
pub fn seal(data: &DataDir, origin: &str, sealing: &Sealing, go_on: &mut dyn FnMut() -> bool) -> Result<Report, ArchiveError> {
    seal_on(data, origin, sealing, go_on, &mut Found::default())
}

/// As [`seal`], going on from a run before.
pub(super) fn seal_on(
    data: &DataDir,
    origin: &str,
    sealing: &Sealing,
    go_on: &mut dyn FnMut() -> bool,
    found: &mut Found,
) -> Result<Report, ArchiveError> {
    run(data, origin, sealing, go_on, found, |data, epoch| Ok(data.reader().left_behind(epoch)?))
}

/// Seals everything, the last segment too. Takes the log's lock, so no server may be running.
///
/// # Errors
/// As [`seal`], and when somebody holds the lock.
pub fn seal_all(
    data: &DataDir,
    origin: &str,
    sealing: &Sealing,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Report, ArchiveError> {
    let path = data.evidence().join("LOCK");
    let _lock = Lock::take(&path).map_err(|refused| match refused {
        NotLocked::Held(holder) => SealedError::Locked(holder.to_string()),
        NotLocked::Io(source) => SealedError::Io { path: path.clone(), source },
    })?;
    // What a killed writer left in the page cache alone would be gone after a power cut, and its indexes be given out again.
    data.reader().sync()?;
    run(data, origin, sealing, go_on, &mut Found::default(), |data, epoch| Ok(data.reader().length(epoch)?))
}

fn run(
    data: &DataDir,
    origin: &str,
    sealing: &Sealing,
    go_on: &mut dyn FnMut() -> bool,
    found: &mut Found,
    until: impl Fn(&DataDir, u32) -> Result<u64, ArchiveError>,
) -> Result<Report, ArchiveError> {
    let mut report = Report::default();
    for epoch in data.reader().epochs()? {
        let dir = data.evidence().join(format!("epoch-{epoch}")).join("parquet");
        let joiner = Joiner::knowing(data, origin, std::mem::take(found));
        let mut pass = Pass { data, origin, epoch, sealing, dir, joiner, go_on: &mut *go_on, report: &mut report };
        let flow = pass.run(until(data, epoch)?)?;
        *found = pass.joiner.into_found();
        if flow.is_break() {
            report.stopped = true;
            break;
        }
    }
    Ok(report)
}

/// One run over one epoch.
struct Pass<'a> {
    data: &'a DataDir,
    origin: &'a str,
    epoch: u32,
    sealing: &'a Sealing,
    dir: PathBuf,
    joiner: Joiner<'a>,
    go_on: &'a mut dyn FnMut() -> bool,
    report: &'a mut Report,
}

impl Pass<'_> {
    fn run(&mut self, until: u64) -> Result<ControlFlow<()>, ArchiveError> {
        let log = format!("{}/{}", self.origin, self.epoch);
        let known = Manifest::read(&self.dir)?.filter(|known| known.log == log && known.next_index <= until);
        // Of another log, or of one that was longer: it says nothing about this one.
        let mut manifest = match known {
            Some(known) => known,
            // What is not here any more cannot be sealed again.
            None => Manifest { next_index: self.begin()?, ..Manifest::new(&log) },
        };
        if manifest.next_index >= until && manifest.files.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        fs::create_dir_all(&self.dir).map_err(SealedError::io(&self.dir))?;
        if self.remove_left_overs(&manifest)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        while manifest.next_index < until {
            let end = self.sealing.end_of_range(manifest.next_index, until);
            if self.seal_range(&mut manifest, end)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        while let Some(inputs) = self.to_merge(&manifest) {
            if self.merge(&mut manifest, &inputs)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn begin(&self) -> Result<u64, ArchiveError> {
        Ok(self.data.reader().begin_index(self.epoch)?)
    }

    fn seal_range(&mut self, manifest: &mut Manifest, end: u64) -> Result<ControlFlow<()>, ArchiveError> {
        let entries = self.joiner.entries(self.epoch, manifest.next_index, end)?;
        let mut days: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            days.entry(entry.located.record.at().as_millis() / DAY_MS).or_default().push(entry);
        }
        for (day, mut rows) in days {
            rows.sort_by_cached_key(|row| (row.client.id.as_deref().map(columns::hash_of), row.located.index));
            if !(self.go_on)() {
                return Ok(ControlFlow::Break(()));
            }
            let made = self.write(day, &rows)?;
            if self.name(manifest, made)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.report.files = self.report.files.saturating_add(1);
        }
        if !(self.go_on)() {
            return Ok(ControlFlow::Break(()));
        }
        self.report.rows = self.report.rows.saturating_add(end.saturating_sub(manifest.next_index));
        manifest.next_index = end;
        manifest.write(&self.dir)?;
        Ok(ControlFlow::Continue(()))
    }

    fn write(&self, day: u64, rows: &[&Entry]) -> Result<Made, SealedError> {
        let directory = format!("day={}/region={}", day_name(day), region_name(&self.sealing.region));
        let first = rows.iter().map(|row| row.located.index).min().unwrap_or(0);
        let mut draft = Draft::begin(&self.dir, directory, first)?;
        rows.chunks(BATCH_ROWS).try_for_each(|rows| draft.push(rows))?;
        draft.finish()
    }

    /// Gives a file its name, and the manifest in memory its entry.
    fn name(&mut self, manifest: &mut Manifest, made: Made) -> Result<ControlFlow<()>, SealedError> {
        if !(self.go_on)() {
            return Ok(ControlFlow::Break(()));
        }
        manifest.files.push(made.keep(&self.dir)?);
        Ok(ControlFlow::Continue(()))
    }

    /// The oldest files of one directory and level, if there are enough of them; else what is left of a day that is over, which is one
    /// file then: a question about a client looks into each file of the days that it asks for.
    fn to_merge(&self, manifest: &Manifest) -> Option<Vec<Listed>> {
        let mut alike: BTreeMap<(&str, usize), Vec<&Listed>> = BTreeMap::new();
        for file in &manifest.files {
            let directory = directory_of(file);
            let level = self.sealing.level(file.rows);
            if level < LAST_LEVEL {
                alike.entry((directory, level)).or_default().push(file);
            }
        }
        let enough = alike.values().find(|files| files.len() >= self.sealing.fan_in).cloned();
        let mut inputs = enough.map(|files| (files, self.sealing.fan_in)).or_else(|| {
            let day = |directory: &str| directory.split('/').next().unwrap_or_default().to_owned();
            let today = manifest.files.iter().map(|file| day(directory_of(file))).max()?;
            let mut left: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
            for ((directory, _), files) in alike.iter().filter(|((directory, _), _)| day(directory) != today) {
                left.entry(directory).or_default().extend(files);
            }
            // Fewer than the fan-in of each level.
            left.into_values().find(|files| files.len() > 1).map(|files| (files, usize::MAX))
        })?;
        inputs.0.sort_by_key(|file| file.min_index);
        Some(inputs.0.into_iter().take(inputs.1).cloned().collect())
    }

    fn merge(&mut self, manifest: &mut Manifest, inputs: &[Listed]) -> Result<ControlFlow<()>, SealedError> {
        let Some(first) = inputs.first() else { return Ok(ControlFlow::Continue(())) };
        if !(self.go_on)() {
            return Ok(ControlFlow::Break(()));
        }
        let draft = Draft::merged(&self.dir, directory_of(first).to_owned(), inputs, self.go_on)?;
        let Some(made) = draft.map(Draft::finish).transpose()? else { return Ok(ControlFlow::Break(())) };
        manifest.files.retain(|file| !inputs.contains(file));
        if self.name(manifest, made)?.is_break() || !(self.go_on)() {
            return Ok(ControlFlow::Break(()));
        }
        manifest.write(&self.dir)?;
        self.report.merges = self.report.merges.saturating_add(1);
        for input in inputs {
            if !(self.go_on)() {
                return Ok(ControlFlow::Break(()));
            }
            let path = self.dir.join(&input.path);
            fs::remove_file(&path).map_err(SealedError::io(&path))?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Removes what the manifest does not name.
    fn remove_left_overs(&mut self, manifest: &Manifest) -> Result<ControlFlow<()>, SealedError> {
        let named: HashSet<PathBuf> = manifest.files.iter().map(|file| self.dir.join(&file.path)).collect();
        let mut open = vec![self.dir.clone()];
        while let Some(directory) = open.pop() {
            for found in fs::read_dir(&directory).map_err(SealedError::io(&directory))? {
                let path = found.map_err(SealedError::io(&directory))?.path();
                let is_ours = path.extension().is_some_and(|extension| extension == "parquet" || extension == "tmp");
                if path.is_dir() {
                    open.push(path);
                } else if is_ours && !named.contains(&path) {
                    if !(self.go_on)() {
                        return Ok(ControlFlow::Break(()));
                    }
                    fs::remove_file(&path).map_err(SealedError::io(&path))?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

const DAY_MS: u64 = 86_400_000;

/// The day of a moment, as directories are named by it.
pub(super) fn day_of(at: Timestamp) -> String {
    day_name(at.as_millis() / DAY_MS)
}

fn directory_of(file: &Listed) -> &str {
    file.path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn day_name(day: u64) -> String {
    let text = Timestamp::from_millis(day.saturating_mul(DAY_MS)).to_string();
    text.get(..10).unwrap_or_default().to_owned()
}

/// A region as a directory's name: what the configuration says, without what a path or a Hive partition could misread.
pub(crate) fn region_name(region: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    if region.is_empty() { "_".to_owned() } else { region.chars().map(plain).collect() }
}
