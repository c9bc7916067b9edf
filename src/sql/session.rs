//! The engine: what it may use, and the tables that it knows.

use std::sync::Arc;

use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;

use super::records::{self, Records};
use super::tail::Tail;
use super::{Evidence, SqlError};
use crate::archive::ArchiveError;
use crate::sealed::{Sealed, VIEWS, records_over, region_name};

/// Functions whose result is as large as a number says: one call asks the allocator for more than there is, and that ends the process.
const UNBOUNDED: [&str; 7] = ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "generate_series", "range"];

/// Aggregates with such a number.
const UNBOUNDED_AGGREGATES: [&str; 2] = ["approx_percentile_cont", "approx_percentile_cont_with_weight"];

/// An engine for one question about the evidence as it is now, with so many bytes for what it has to remember.
pub(super) async fn open(evidence: &Evidence, memory: usize) -> std::result::Result<SessionContext, SqlError> {
    let directory = evidence.data.evidence();
    let store = LocalFileSystem::new_with_prefix(&directory).map_err(DataFusionError::from)?;
    // What does not fit is an answer that is cut, never a file on somebody's disk.
    let no_files = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let pool = Arc::new(GreedyMemoryPool::new(memory));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(no_files).build_arc()?;
    // The engine can open what is in our store. The one that it comes with is the whole disk.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    runtime.register_object_store(ObjectStoreUrl::parse(records::STORE)?.as_ref(), Arc::new(store));
    let mut config = SessionConfig::new().with_information_schema(false);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    let context = SessionContext::new_with_config_rt(config, runtime);
    UNBOUNDED.into_iter().for_each(|name| context.deregister_udf(name));
    UNBOUNDED_AGGREGATES.into_iter().for_each(|name| context.deregister_udaf(name));
    for (name, statement) in std::iter::once(("records", records_over(ALL))).chain(VIEWS.map(|v| (v.name, v.sql.to_owned()))) {
        if name == "records" {
            context.register_table(ALL, Arc::new(all(evidence)?))?;
        }
        let plan = context.state().create_logical_plan(&statement).await?;
        context.register_table(name, Arc::new(ViewTable::new(plan, None)))?;
    }
    context.deregister_table(ALL)?;
    Ok(context)
}

/// Plans a statement, and refuses plans that do more than read.
pub(super) async fn plan(state: &SessionState, statement: Statement) -> Result<LogicalPlan> {
    let plan = state.statement_to_plan(statement).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    Ok(plan)
}

/// The table below the views; it has a name only while they are made.
const ALL: &str = "sealed_and_tail";

/// All records: the manifests are read first, so that what is sealed meanwhile is in the log for us.
fn all(evidence: &Evidence) -> std::result::Result<Records, SqlError> {
    let (data, origin) = (&evidence.data, &evidence.origin);
    let epochs = data.reader().epochs().map_err(ArchiveError::from)?;
    let sealed = Sealed::open(&data.evidence(), origin, &epochs).map_err(ArchiveError::from)?;
    let mut ranges = Vec::new();
    for epoch in epochs {
        let end = data.reader().length(epoch).map_err(ArchiveError::from)?;
        ranges.push((epoch, sealed.next_index(epoch), end));
    }
    let (data, origin, region) = (Arc::clone(data), origin.clone(), region_name(&evidence.region));
    let tail = Tail { data, origin, region, ranges, schema: records::schema()? };
    Ok(Records::new(&evidence.data.evidence(), &sealed.sheets(), tail)?)
}
