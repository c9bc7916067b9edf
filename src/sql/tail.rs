//! The records that are in the log alone, as a table's partition: what SQL sees is what is durable.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use tokio::sync::mpsc::Sender;

use super::{bridge, records};
use crate::archive::{ArchiveError, DataDir};
use crate::sealed::{Entry, Joiner};

/// Rows of a batch: enough to be worth it, few enough to be small.
const BATCH_ROWS: usize = 4_096;
/// Batches that are read ahead.
const AHEAD: usize = 2;

/// Where it begins and ends in each epoch.
#[derive(Clone)]
pub(super) struct Tail {
    pub(super) data: Arc<DataDir>,
    pub(super) origin: String,
    pub(super) region: String,
    /// Epoch, first index, and the index after the last. Fixed when the question was asked: its joins see the same rows twice.
    pub(super) ranges: Vec<(u32, u64, u64)>,
    pub(super) schema: SchemaRef,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}

impl PartitionStream for Tail {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), AHEAD);
        let (tail, sender) = (self.clone(), stream.tx());
        stream.spawn_blocking(move || tail.read(&sender));
        stream.build()
    }
}

impl Tail {
    /// Reads it, until nobody wants more.
    fn read(&self, sender: &Sender<Result<RecordBatch>>) -> Result<()> {
        let mut joiner = Joiner::new(&self.data, &self.origin);
        let external = |error: ArchiveError| DataFusionError::External(Box::new(error));
        for &(epoch, first, end) in &self.ranges {
            let (mut rows, mut failed) = (Vec::with_capacity(BATCH_ROWS), None);
            let send = |rows: &mut Vec<Entry>| -> Result<bool> {
                let batch = self.batch(rows)?;
                rows.clear();
                Ok(sender.blocking_send(Ok(batch)).is_ok())
            };
            let take = |located: crate::archive::Located| {
                if located.index >= end {
                    return ControlFlow::Break(());
                }
                let more = joiner.entry(located).map_err(external).and_then(|entry| {
                    rows.push(entry);
                    if rows.len() < BATCH_ROWS { Ok(true) } else { send(&mut rows) }
                });
                match more {
                    Ok(true) => ControlFlow::Continue(()),
                    stopped => {
                        failed = Some(stopped);
                        ControlFlow::Break(())
                    }
                }
            };
            self.data.each_of(epoch, first, &self.origin, take).map_err(external)?;
            match failed {
                Some(stopped) => return stopped.map(|_| ()),
                None if !rows.is_empty() && !send(&mut rows)? => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    fn batch(&self, rows: &[Entry]) -> Result<RecordBatch> {
        let batch = bridge::batch(rows)?;
        let days: Date32Array = rows.iter().map(|row| records::day_of(row.located.record.at())).collect();
        let regions: StringArray = rows.iter().map(|_| Some(self.region.as_str())).collect();
        let paths: [ArrayRef; 2] = [Arc::new(days), Arc::new(regions)];
        let columns = batch.columns().iter().cloned().chain(paths).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
