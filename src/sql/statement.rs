//! What may be asked: one question that reads our views.

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement as Sql, TableFactor, Visit as _, Visitor};

use super::shape;

/// A question.
pub(super) enum Question {
    /// `SELECT`, `WITH`, `VALUES`.
    Rows(Statement),
    /// `EXPLAIN`, `DESCRIBE`: the engine answers these as a whole.
    About(Statement),
    /// `SHOW TABLES`.
    Views,
}

/// Reads a text as one question.
pub(super) fn parse(text: &str) -> Result<Question, String> {
    shape::check(text)?;
    let mut parser = DFParserBuilder::new(text).with_recursion_limit(RECURSION_MAX).build().map_err(|e| said(&e))?;
    let mut statements = parser.parse_statements().map_err(|e| said(&e))?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(classify(statement)?),
        (None, _) => Err("there is no statement in it".to_owned()),
        (Some(_), false) => Err("it has more than one statement".to_owned()),
    }
}

/// Levels that the parser may recurse; it counts more than brackets.
const RECURSION_MAX: usize = 256;

fn classify(statement: Statement) -> Result<Question, String> {
    let refused = || "only SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES are answered".to_owned();
    match &statement {
        Statement::Statement(sql) => match &**sql {
            Sql::Query(query) => reads(query).map(|()| Question::Rows(statement)),
            Sql::ExplainTable { .. } => Ok(Question::About(statement)),
            Sql::ShowTables { .. } => Ok(Question::Views),
            _ => Err(refused()),
        },
        Statement::Explain(ExplainStatement { statement: inner, .. }) => match &**inner {
            Statement::Statement(sql) => match &**sql {
                Sql::Query(query) => reads(query).map(|()| Question::About(statement)),
                _ => Err(refused()),
            },
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// That nothing within a query writes or is a function that makes tables: those of the engine make rows without end, and those of other
/// engines read files.
fn reads(query: &Query) -> Result<(), String> {
    struct Reads;
    impl Visitor for Reads {
        type Break = String;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
            match &*query.body {
                SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                    ControlFlow::Break("a query that changes something is not answered".to_owned())
                }
                SetExpr::Select(select) if select.into.is_some() => {
                    ControlFlow::Break("SELECT INTO makes a table, and is not answered".to_owned())
                }
                _ => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
            let name = match table {
                TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => name.to_string(),
                TableFactor::TableFunction { .. } => "TABLE".to_owned(),
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(format!("the table function {name} is not answered; SHOW TABLES has what can be read"))
        }
    }
    match query.visit(&mut Reads) {
        ControlFlow::Break(why) => Err(why),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn said(error: &datafusion::error::DataFusionError) -> String {
    error.message().into_owned()
}
