//! Rows of an answer, as JSON values: every form of output is made of them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use serde_json::{Map, Value};

/// What was answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// The names of the columns, each once.
    pub columns: Vec<String>,
    /// The rows: a value a column. Times are RFC 3339 texts, bytes are hexadecimal.
    pub rows: Vec<Vec<Value>>,
    /// What cut the answer, when the rows are not all: `limit`, `timeout`, `memory`.
    pub cut_by: Option<&'static str>,
}

impl Answer {
    /// A row by the names of its columns.
    #[must_use]
    pub fn object(&self, row: &[Value]) -> Map<String, Value> {
        self.columns.iter().cloned().zip(row.iter().cloned()).collect()
    }

    /// Of these columns, without rows yet. Two of one name are told apart: `place`, `place_2`.
    pub(super) fn begin(names: impl IntoIterator<Item = String>) -> Self {
        let mut taken = HashSet::new();
        let mut columns = Vec::new();
        for name in names {
            let mut unique = name.clone();
            let mut number = 2_u32;
            while !taken.insert(unique.clone()) {
                unique = format!("{name}_{number}");
                number += 1;
            }
            columns.push(unique);
        }
        Self { columns, rows: Vec::new(), cut_by: None }
    }

    /// Adds rows. A column at a time, because an object would have one of two that share a name.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut rows = vec![Vec::with_capacity(self.columns.len()); batch.num_rows()];
        for column in batch.columns() {
            let schema = Schema::new(vec![Field::new("v", column.data_type().clone(), true)]);
            let alone = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(column)])?;
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
            writer.write(&alone)?;
            writer.finish()?;
            let values: Vec<Map<String, Value>> =
                serde_json::from_slice(&writer.into_inner()).map_err(|error| ArrowError::JsonError(error.to_string()))?;
            for (row, mut value) in rows.iter_mut().zip(values) {
                row.push(value.remove("v").unwrap_or(Value::Null));
            }
        }
        self.rows.append(&mut rows);
        Ok(())
    }
}
