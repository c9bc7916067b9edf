//! `evidence verify`: audits everything on disk.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::Mark;
use crate::cli::{Outcome, exit, table};
use countersign::archive::DataDir;
use countersign::config::Config;
use countersign::evidence::{Audit, LogReader};
use countersign::revocation::kill_log::KillLog;
use countersign::sealed::{self, Compared};

/// Audit the whole log.
#[derive(Args)]
#[command(
    after_help = "Exit code 1 at the first damage, which is named with its place, and when the log contradicts a checkpoint."
)]
pub(crate) struct Verify {
    /// Also compare the Parquet files with the log: every row in every column, and that each sealed record has one row
    #[arg(long)]
    sealed: bool,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let advice = "keep the directory as it is, and compare it with a backup";
        let fail = |error: countersign::evidence::ReadError| Failure::new("evidence", error, advice);
        let reader = LogReader::open(config.data_dir.join("evidence")).map_err(fail)?;
        let bar = progress(context, "{bar:40} {bytes}/{total_bytes} {eta}");
        let audit = reader.verify(&mut |progress| {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.bytes);
        });
        bar.finish_and_clear();
        let audit = audit.map_err(fail)?;
        let epochs = reader.epochs().map_err(fail)?;
        // Comparing every row says more than comparing every byte, and where.
        if !self.sealed {
            sealed::check(reader.dir(), &config.log_origin(), &epochs)
                .map_err(|error| Failure::new("evidence", error, "the records themselves are sound"))?;
        }
        let orders =
            KillLog::read_only(&config.data_dir).map_err(|error| Failure::new("kill log", error, advice))?.orders().len();
        let records: u64 = audit.epochs.iter().map(|epoch| epoch.records).sum();
        let sound = audit.epochs.iter().all(|epoch| epoch.contradiction.is_none());
        let exit = if sound { exit::OK } else { exit::FAILURE };
        // A log that is not sound is nothing to compare with.
        let compared = if self.sealed && sound { Some(compared(context, &config)?) } else { None };
        if context.global.json {
            let epochs: Vec<_> = audit
                .epochs
                .iter()
                .map(|epoch| {
                    json!({ "epoch": epoch.epoch, "records": epoch.records, "frames": epoch.frames, "closed": epoch.closed,
                            "checkpoints": epoch.checkpoints, "signed_records": epoch.signed, "contradiction": epoch.contradiction,
                            "unfinished_bytes": epoch.unfinished, "log_id": epoch.log_id })
                })
                .collect();
            let mut report =
                json!({ "ok": sound, "records": records, "blobs": audit.blobs, "kill_orders": orders, "epochs": epochs });
            if let (Some(Compared { rows, files }), Some(report)) = (compared, report.as_object_mut()) {
                report.insert("sealed".to_owned(), json!({ "rows": rows, "files": files }));
            }
            return Ok(Outcome::done(json_text(&report)).exit(exit));
        }
        let mut text = render(&audit, records, orders, context);
        if let Some(Compared { rows, files }) = compared {
            let mark = context.paint.mark(Mark::Good);
            text.push_str(&format!(
                "{mark} {rows} rows in {files} Parquet files: each is what its record says, and none is missing\n"
            ));
        }
        Ok(Outcome::done(text).exit(exit))
    }
}

fn compared(context: &Context, config: &Config) -> Result<Compared, Failure> {
    let data = DataDir::open(&config.data_dir)?;
    let bar = progress(context, "{bar:40} {pos}/{len} {eta}");
    let compared = sealed::compare(&data, &config.log_origin(), &mut |read, total| {
        bar.set_length(total);
        bar.set_position(read);
    });
    bar.finish_and_clear();
    Ok(compared?)
}

/// A bar on a terminal; nothing anywhere else.
pub(super) fn progress(context: &Context, template: &str) -> ProgressBar {
    use std::io::IsTerminal as _;
    if context.global.json || context.global.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn render(audit: &Audit, records: u64, orders: usize, context: &Context) -> String {
    let paint = context.paint;
    let mut rows =
        vec![["EPOCH", "RECORDS", "FRAMES", "CHECKPOINTS", "END"].iter().map(|text| paint.dim(text)).collect::<Vec<_>>()];
    rows.extend(audit.epochs.iter().map(|epoch| {
        let end = match (epoch.closed, epoch.unfinished) {
            (true, _) => "closed in order".to_owned(),
            (false, 0) => "open, or its writer was killed".to_owned(),
            (false, bytes) => format!("{bytes} bytes of an unfinished write, acknowledged to nobody"),
        };
        vec![epoch.epoch.to_string(), epoch.records.to_string(), epoch.frames.to_string(), epoch.checkpoints.to_string(), end]
    }));
    let head = if context.global.quiet { String::new() } else { table::columns(&rows, "") };
    let contradictions: String = audit
        .epochs
        .iter()
        .filter_map(|epoch| {
            Some(format!("{} epoch {}: {}\n", paint.mark(Mark::Bad), epoch.epoch, epoch.contradiction.as_ref()?))
        })
        .collect();
    if !contradictions.is_empty() {
        return format!("{head}{contradictions}");
    }
    let signed: u64 = audit.epochs.iter().map(|epoch| epoch.signed).sum();
    format!(
        "{head}{} {records} records in one unbroken chain each epoch, {signed} of them signed for, {} blobs, {orders} kill orders: \
         all as they were written\n",
        paint.mark(Mark::Good),
        audit.blobs
    )
}
