//! The evidence for other systems: JSON Lines, OCSF, CloudEvents, one Parquet file. Read from the log, oldest first.

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};

use crate::archive::{ArchiveError, DataDir};
use crate::listing::{Filter, Row};
use crate::sealed::{self, Entry, FileWriter, GROUP_ROWS, Joiner, SealedError};

mod ocsf;

/// A place in the log: epoch and index.
pub type Place = (u32, u64);

/// Goes through the records that match, from this place on, oldest first, until `take` has enough. Says where to go on: after the last
/// record that was looked at, whether it matched or not.
///
/// # Errors
/// When the log cannot be read.
pub fn each(
    data: &DataDir,
    origin: &str,
    filter: &Filter,
    from: Place,
    mut take: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<Place, ArchiveError> {
    let mut joiner = Joiner::new(data, origin);
    let (mut place, mut failed, mut done) = (from, None, false);
    for epoch in data.reader().epochs()?.into_iter().filter(|epoch| *epoch >= from.0) {
        data.each_of(epoch, if epoch == from.0 { from.1 } else { 0 }, origin, |located| {
            place = (epoch, located.index.saturating_add(1));
            let matching = joiner.client(&located).map(|client| filter.takes(&Row::of(&located, &client), &located));
            let entry = match matching {
                Ok(false) => return ControlFlow::Continue(()),
                Ok(true) => joiner.entry(located),
                Err(error) => Err(error),
            };
            let went = entry.map(&mut take).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            });
            done = went.is_break();
            went
        })?;
        if done {
            break;
        }
    }
    failed.map_or(Ok(place), Err)
}

/// A record as JSON: the columns of `docs/evidence-parquet.md` that have a value, the log, the record's leaf hash, and the id of a
/// decision.
#[must_use]
pub fn plain(entry: &Entry) -> Value {
    let mut object = sealed::object(entry);
    if let Some(id) = id_of(entry) {
        object.insert("id".to_owned(), id.into());
    }
    object.insert("log".to_owned(), entry.located.log.clone().into());
    object.insert("leaf".to_owned(), entry.located.leaf.to_string().into());
    Value::Object(object)
}

/// A decision as an event of OCSF 1.9 (class API Activity). `None` for records that are not decisions.
#[must_use]
pub fn ocsf(entry: &Entry) -> Option<Value> {
    ocsf::event(entry)
}

/// A record as an event of CloudEvents 1.0. Its id is the record's place, so whoever gets it twice can tell.
#[must_use]
pub fn cloud_event(entry: &Entry) -> Value {
    let located = &entry.located;
    let mut event = json!({
        "specversion": "1.0",
        "id": format!("{}#{}", located.log, located.index),
        "source": located.log,
        "type": format!("countersign.evidence.{}", located.record.kind()),
        "time": located.record.at(),
        "datacontenttype": "application/json",
        "data": plain(entry),
    });
    if let (Some(client), Some(event)) = (&entry.client.id, event.as_object_mut()) {
        event.insert("subject".to_owned(), client.clone().into());
    }
    event
}

/// Writes what matches into one Parquet file with the columns of the sealed ones. Rows are sorted by client within each group of rows. Says
/// how many rows.
///
/// # Errors
/// When the log cannot be read or the file cannot be written.
pub fn parquet(data: &DataDir, origin: &str, filter: &Filter, out: &Path) -> Result<u64, ArchiveError> {
    let directory = out.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let mut writer = FileWriter::create(directory, u64::from(std::process::id()))?;
    let (mut group, mut rows, mut failed) = (Vec::new(), 0_u64, None);
    each(data, origin, filter, (0, 0), |entry| {
        group.push(entry);
        if group.len() >= GROUP_ROWS
            && let Err(error) = flush(&mut writer, &mut group, &mut rows)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(()), Err)?;
    flush(&mut writer, &mut group, &mut rows)?;
    let (temporary, ..) = writer.finish()?;
    std::fs::rename(&temporary, out).map_err(SealedError::io(out))?;
    Ok(rows)
}

fn flush(writer: &mut FileWriter, group: &mut Vec<Entry>, rows: &mut u64) -> Result<(), SealedError> {
    let place = |row: &Entry| (row.located.index, row.located.epoch);
    group.sort_by_cached_key(|row| (row.client.id.as_deref().map(sealed::hash_of), place(row)));
    for rows in group.chunks(8_192) {
        let batch = sealed::batch(&rows.iter().collect::<Vec<_>>());
        writer.write(&batch.map_err(|error| SealedError::damaged(Path::new("export"))(error.to_string()))?)?;
    }
    *rows = rows.saturating_add(u64::try_from(group.len()).unwrap_or(u64::MAX));
    group.clear();
    Ok(())
}

fn id_of(entry: &Entry) -> Option<String> {
    let answered = entry.located.record.outcome().is_some_and(|(_, answered)| answered);
    entry.located.id().filter(|_| answered).map(|id| id.to_string())
}
