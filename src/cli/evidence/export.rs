//! `evidence export`: decisions for other systems.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::filters::Filters;
use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use countersign::archive::DataDir;
use countersign::export;

const AFTER_HELP: &str = "\
jsonl: the columns of docs/evidence-parquet.md, a record a line. ocsf: OCSF 1.9 API Activity, a decision a line. parquet: one file with the
same columns as the sealed ones.

Examples:
  countersign evidence export --format jsonl --since 2026-11-22 > decisions.jsonl
  countersign evidence export --format ocsf --decision deny --out denials.jsonl
  countersign evidence export --format parquet --all --out everything.parquet";

/// Write decisions for other systems, oldest first.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Export {
    /// As what
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    filters: Filters,
    /// Into this file, whole or not at all; else to stdout
    #[arg(long, value_name = "FILE", required_if_eq("format", "parquet"))]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Ocsf,
    Parquet,
}

impl Export {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let rows = match (self.format, &self.out) {
            (Format::Parquet, Some(out)) => export::parquet(&data, &origin, &self.filters.filter(), out)?,
            (Format::Parquet, None) => return Err(Failure::new("--out", "is missing", "name a file for parquet").usage()),
            (_, Some(out)) => {
                let temporary = out.with_extension("tmp");
                let file = File::create(&temporary).map_err(|error| failed(&temporary, &error))?;
                let rows = self.lines(&data, &origin, &file)?;
                let kept = file.sync_all().and_then(|()| fs::rename(&temporary, out));
                kept.map_err(|error| failed(out, &error))?;
                rows
            }
            // Not by way of the outcome's text: a log is larger than memory.
            (_, None) => self.lines(&data, &origin, io::stdout().lock())?,
        };
        let mut outcome = Outcome::done(String::new());
        if !context.global.quiet {
            outcome.notes.push(format!("{rows} records written"));
        }
        Ok(outcome)
    }

    fn lines(&self, data: &DataDir, origin: &str, out: impl Write) -> Result<u64, Failure> {
        let (mut out, mut rows, mut error) = (BufWriter::new(out), 0_u64, None);
        export::each(data, origin, &self.filters.filter(), (0, 0), |entry| {
            let value = if self.format == Format::Ocsf { export::ocsf(&entry) } else { Some(export::plain(&entry)) };
            let Some(value) = value else { return ControlFlow::Continue(()) };
            rows = rows.saturating_add(1);
            match writeln!(out, "{value}") {
                Ok(()) => ControlFlow::Continue(()),
                Err(wrong) => {
                    error = Some(wrong);
                    ControlFlow::Break(())
                }
            }
        })?;
        match error.map_or_else(|| out.flush(), Err) {
            // A reader that has seen enough (`| head`) is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(failed(self.out.as_deref().unwrap_or(Path::new("stdout")), &error))
            }
            _ => Ok(rows),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(path.display(), error, "name a file that can be written with --out")
}
