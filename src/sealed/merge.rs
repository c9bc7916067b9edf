//! Several sorted files become one, a batch of each in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, FieldRef};
use arrow_select::interleave::interleave;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::SealedError;
use super::write::FileWriter;

/// Rows of a batch that is read or written.
const BATCH_ROWS: usize = 8_192;

/// What rows are sorted by: client hash, index. Rows without a client come first.
type Key = (Option<i64>, i64);

struct Input {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    /// Which of the held batches its rows are in now, and the next row.
    held: usize,
    row: usize,
}

/// Merges files, each sorted, into one. `go_on` is asked before each batch: sixteen million rows take a minute, and whoever stops a server
/// does not wait so long. `false` when it was told to stop.
pub(crate) fn merge(paths: &[PathBuf], writer: &mut FileWriter, go_on: &mut dyn FnMut() -> bool) -> Result<bool, SealedError> {
    let mut inputs = Vec::new();
    for path in paths {
        let file = File::open(path).map_err(SealedError::io(path))?;
        let damaged = |error: parquet::errors::ParquetError| SealedError::damaged(path)(error.to_string());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        inputs.push(Input { path: path.clone(), reader, held: 0, row: 0 });
    }
    let mut merging = Merging { inputs, held: Vec::new(), rows: Vec::new(), heap: BinaryHeap::new() };
    for input in 0..paths.len() {
        merging.refill(input)?;
    }
    while let Some(Reverse((_, input))) = merging.heap.pop() {
        merging.take(input)?;
        if merging.rows.len() >= BATCH_ROWS {
            if !go_on() {
                return Ok(false);
            }
            merging.flush(writer)?;
        }
    }
    let whole = go_on();
    if whole {
        merging.flush(writer)?;
    }
    Ok(whole)
}

struct Merging {
    inputs: Vec<Input>,
    /// Batches that rows are taken from.
    held: Vec<RecordBatch>,
    /// The next rows of the output: batch, row.
    rows: Vec<(usize, usize)>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
}

impl Merging {
    /// Takes the next row of an input.
    fn take(&mut self, input: usize) -> Result<(), SealedError> {
        let Some(from) = self.inputs.get_mut(input) else { return Ok(()) };
        self.rows.push((from.held, from.row));
        from.row = from.row.saturating_add(1);
        let (held, row) = (from.held, from.row);
        match self.held.get(held).filter(|batch| row < batch.num_rows()) {
            Some(batch) => self.heap.push(Reverse((key(batch, row), input))),
            None => self.refill(input)?,
        }
        Ok(())
    }

    /// Reads the next batch of an input.
    fn refill(&mut self, input: usize) -> Result<(), SealedError> {
        let Some(from) = self.inputs.get_mut(input) else { return Ok(()) };
        let Some(batch) = from.reader.next() else { return Ok(()) };
        let batch = batch.map_err(|error| SealedError::damaged(&from.path)(error.to_string()))?;
        (from.held, from.row) = (self.held.len(), 0);
        if batch.num_rows() > 0 {
            self.heap.push(Reverse((key(&batch, 0), input)));
        }
        self.held.push(batch);
        Ok(())
    }

    /// The next rows of the output as a batch. Most columns of most rows are empty, which need not be found row by row.
    fn merged(&self) -> Result<RecordBatch, ArrowError> {
        let schema = self.held.first().map(RecordBatch::schema).ok_or_else(|| ArrowError::SchemaError("no rows".to_owned()))?;
        let column = |(place, field): (usize, &FieldRef)| {
            let parts: Vec<&dyn Array> = self.held.iter().filter_map(|batch| Some(&**batch.columns().get(place)?)).collect();
            match parts.iter().all(|part| part.null_count() == part.len()) {
                true => Ok(new_null_array(field.data_type(), self.rows.len())),
                false => interleave(&parts, &self.rows),
            }
        };
        let columns: Result<Vec<ArrayRef>, ArrowError> = schema.fields().iter().enumerate().map(column).collect();
        RecordBatch::try_new(Arc::clone(&schema), columns?)
    }

    fn flush(&mut self, writer: &mut FileWriter) -> Result<(), SealedError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let merged = self.merged();
        let place = self.inputs.first().map(|input| input.path.clone()).unwrap_or_default();
        writer.write(&merged.map_err(|error| SealedError::damaged(&place)(error.to_string()))?)?;
        self.rows.clear();
        // Only the batches that inputs are in the midst of are needed from here on.
        let held = std::mem::take(&mut self.held);
        for input in &mut self.inputs {
            if let Some(batch) = held.get(input.held) {
                input.held = self.held.len();
                self.held.push(batch.clone());
            }
        }
        Ok(())
    }
}

/// The first two columns of every file.
fn key(batch: &RecordBatch, row: usize) -> Key {
    let number = |place: usize| {
        let column = batch.columns().get(place)?.as_primitive_opt::<Int64Type>()?;
        (row < column.len() && column.is_valid(row)).then(|| column.value(row))
    };
    (number(0), number(1).unwrap_or(0))
}
