//! The table that the views are made of: the Parquet files that the manifests name, and the part of the log that is not sealed yet.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::union::UnionExec;

use super::bridge;
use super::tail::Tail;
use crate::sealed::{Sheet, hash_of};
use crate::values::Timestamp;

/// Where the engine's files are: a store that has the evidence directory, and nothing else.
pub(super) const STORE: &str = "evidence://log/";

/// All records, as they were when the question was asked.
#[derive(Debug)]
pub(super) struct Records {
    files: Vec<PartitionedFile>,
    tail: Arc<Tail>,
    table: TableSchema,
}

impl Records {
    /// Of these files below `evidence`, and the records that are in the log alone.
    pub(super) fn new(evidence: &Path, sheets: &[Sheet], tail: Tail) -> Result<Self> {
        let columns = bridge::schema()?;
        let partitions: Vec<_> = partitions().into_iter().map(Arc::new).collect();
        let table = TableSchema::builder(Arc::clone(&columns)).with_table_partition_cols(partitions).build();
        let files = sheets.iter().map(|sheet| file(evidence, sheet, &columns)).collect();
        Ok(Self { files, tail: Arc::new(tail), table })
    }

    /// The scan of the files. Filters choose files, row groups and pages here, and then rows within them.
    fn sealed(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = ParquetSource::new(self.table.clone());
        let hashes = filters.iter().filter_map(client_hash);
        if let Some(filter) = conjunction(filters.iter().cloned().chain(hashes)) {
            let schema = DFSchema::try_from(Arc::clone(self.table.table_schema()))?;
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let groups = FileGroup::new(self.files.clone()).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE)?, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

#[async_trait]
impl TableProvider for Records {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The tail is not filtered here, so the engine looks at the rows again.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stream = Arc::clone(&self.tail);
        let tail = StreamingTableExec::try_new(self.schema(), vec![stream], projection, [], false, limit)?;
        if self.files.is_empty() {
            return Ok(Arc::new(tail));
        }
        UnionExec::try_new(vec![self.sealed(state, projection, filters, limit)?, Arc::new(tail)])
    }
}

/// The columns of the path. Types are those that other engines guess.
fn partitions() -> [Field; 2] {
    [Field::new("day", DataType::Date32, true), Field::new("region", DataType::Utf8, true)]
}

/// The columns of a table: those of the files, and those of their paths.
pub(super) fn schema() -> Result<SchemaRef> {
    let fields = bridge::schema()?.fields().iter().cloned().chain(partitions().into_iter().map(Arc::new)).collect::<Vec<_>>();
    Ok(Arc::new(Schema::new(fields)))
}

/// Days since 1970.
pub(super) fn day_of(at: Timestamp) -> Option<i32> {
    i32::try_from(at.as_millis() / 86_400_000).ok()
}

/// A file with what its manifest and its path say about it.
fn file(evidence: &Path, sheet: &Sheet, columns: &Schema) -> PartitionedFile {
    let path = sheet.path.strip_prefix(evidence).unwrap_or(&sheet.path);
    let value = |name: &str| {
        let mut parts = path.iter().filter_map(|part| part.to_str()?.strip_prefix(name)?.strip_prefix('='));
        parts.next().map(str::to_owned)
    };
    let day = value("day").and_then(|day| day_of(Timestamp::parse(&format!("{day}T00:00:00Z"))?));
    let partitions = vec![ScalarValue::Date32(day), ScalarValue::Utf8(value("region"))];
    let file = PartitionedFile::new(path.to_string_lossy(), sheet.listed.bytes).with_partition_values(partitions);
    file.with_statistics(Arc::new(statistics(sheet, columns)))
}

/// The bounds that let files be passed over without being opened.
fn statistics(sheet: &Sheet, schema: &Schema) -> Statistics {
    let listed = &sheet.listed;
    let number = |value: u64| ScalarValue::Int64(i64::try_from(value).ok());
    let time = |at: Timestamp| ScalarValue::TimestampMillisecond(i64::try_from(at.as_millis()).ok(), Some("UTC".into()));
    let bounds = |name: &str| match name {
        "epoch" => Some((number(sheet.epoch.into()), number(sheet.epoch.into()))),
        "index" => Some((number(listed.min_index), number(listed.max_index))),
        "at" => Some((time(listed.min_at), time(listed.max_at))),
        _ => None,
    };
    let columns = schema.fields().iter().map(|field| match bounds(field.name()) {
        Some((least, most)) => ColumnStatistics::new_unknown()
            .with_null_count(Precision::Exact(0))
            .with_min_value(Precision::Exact(least))
            .with_max_value(Precision::Exact(most)),
        None => ColumnStatistics::new_unknown(),
    });
    let rows = usize::try_from(listed.rows).map_or(Precision::Absent, Precision::Exact);
    Statistics { num_rows: rows, total_byte_size: Precision::Absent, column_statistics: columns.collect() }
}

/// Rows are sorted by a hash of the client: who asks for a client by its name asks for its place too.
fn client_hash(filter: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    let name = match (&**left, &**right) {
        (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
            (column.name == "client").then(|| value.try_as_str().flatten())?
        }
        _ => None,
    };
    Some(col("client_hash").eq(lit(hash_of(name?))))
}
