//! From our version of Arrow to the engine's, which is one behind: as a stream of Arrow IPC, whose format both know. The engine reads the
//! Parquet files with its own reader; only the records that are in no file yet come this way.

use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::error::{DataFusionError, Result};

use crate::sealed::{self, Entry};

/// The schema of every file, in the engine's words.
pub(super) fn schema() -> Result<SchemaRef> {
    let written = written(None)?;
    Ok(StreamReader::try_new(written.as_slice(), None)?.schema())
}

/// Rows as a batch of the engine's.
pub(super) fn batch(rows: &[Entry]) -> Result<RecordBatch> {
    let rows: Vec<&Entry> = rows.iter().collect();
    let ours = sealed::batch(&rows).map_err(external)?;
    let written = written(Some(&ours))?;
    let mut reader = StreamReader::try_new(written.as_slice(), None)?;
    let empty = || Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
    Ok(reader.next().unwrap_or_else(empty)?)
}

fn written(batch: Option<&arrow_array::RecordBatch>) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &sealed::schema()).map_err(external)?;
    batch.map_or(Ok(()), |batch| writer.write(batch)).map_err(external)?;
    writer.into_inner().map_err(external)
}

fn external(error: arrow_schema::ArrowError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
