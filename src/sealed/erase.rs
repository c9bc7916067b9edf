//! Taking addresses out of the files of days that are over. The files are a view; the values themselves are in `evidence/personal.rs`.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::SealedError;
use super::manifest::{Listed, Manifest};
use super::write::{self, FileWriter};
use crate::evidence::personal::Day;

/// The column that says where a request came from.
const COLUMN: &str = "ip";
/// Ends the names of files that hold no addresses.
const ERASED: &str = "-erased.parquet";

/// Takes the addresses out of the files of an epoch that are of days before one. Says how many files were made again. As with sealing, one
/// may do it at a time, and a crash leaves files that no manifest names.
pub(crate) fn erase_addresses(dir: &Path, before: Day, go_on: &mut dyn FnMut() -> bool) -> Result<u64, SealedError> {
    let Some(mut manifest) = Manifest::read(dir)? else { return Ok(0) };
    let with_addresses = |file: &&Listed| file.day().is_some_and(|day| day < before) && !file.path.ends_with(ERASED);
    let old: Vec<Listed> = manifest.files.iter().filter(with_addresses).cloned().collect();
    let mut done: u64 = 0;
    for file in old {
        if !go_on() {
            break;
        }
        replace(dir, &mut manifest, &file)?;
        done = done.saturating_add(1);
    }
    Ok(done)
}

fn replace(dir: &Path, manifest: &mut Manifest, old: &Listed) -> Result<(), SealedError> {
    let path = dir.join(&old.path);
    let damaged = SealedError::damaged(&path);
    let file = File::open(&path).map_err(SealedError::io(&path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
    let reader = reader.map_err(|error| damaged(error.to_string()))?;
    let mut writer = FileWriter::create(path.parent().unwrap_or(dir), old.min_index)?;
    for batch in reader {
        let batch = batch.and_then(without_addresses).map_err(|error| damaged(error.to_string()))?;
        writer.write(&batch)?;
    }
    let (temporary, bytes, sha256) = writer.finish()?;
    let name = format!("{}{ERASED}", old.path.strip_suffix(".parquet").unwrap_or(&old.path));
    write::rename(&temporary, &dir.join(&name), dir)?;
    manifest.files.retain(|file| file != old);
    manifest.files.push(Listed { path: name, bytes, sha256, ..old.clone() });
    manifest.write(dir)?;
    fs::remove_file(&path).map_err(SealedError::io(&path))
}

fn without_addresses(batch: RecordBatch) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let schema = super::columns::schema();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| match field.name() == COLUMN {
            true => new_null_array(field.data_type(), batch.num_rows()),
            false => Arc::clone(column),
        })
        .collect();
    RecordBatch::try_new(schema, columns)
}

/// Removes the files of an epoch that are of days before one, from the manifest first. Says where the rows begin that are left, or would.
pub(crate) fn delete_days(dir: &Path, before: Day) -> Result<Option<u64>, SealedError> {
    let Some(mut manifest) = Manifest::read(dir)? else { return Ok(None) };
    let (old, left): (Vec<Listed>, Vec<Listed>) =
        manifest.files.drain(..).partition(|file| file.day().is_some_and(|day| day < before));
    let begin = left.iter().map(|file| file.min_index).min().unwrap_or(manifest.next_index);
    manifest.files = left;
    if !old.is_empty() {
        manifest.write(dir)?;
    }
    for file in old {
        let path = dir.join(&file.path);
        fs::remove_file(&path).map_err(SealedError::io(&path))?;
    }
    Ok(Some(begin))
}
