//! The command line (CONTRACT section 1). A subcommand reads its arguments, asks the library, and returns what to print and
//! how to exit; only `serve` and `demo` print while they run. So each one's output is a value that a test can look at.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

mod anchors;
mod args;
mod break_glass;
mod completions;
mod context;
mod demo;
mod doctor;
mod dossier;
mod evidence;
mod explain;
mod failure;
mod inventory;
mod lint;
mod paint;
mod policy;
mod publish;
mod reference;
mod remote;
mod revoke;
mod serve;
mod show;
mod table;
mod verify;

use context::Context;
use failure::Failure;

/// Exit codes: an interface, used by scripts. Fixed by CONTRACT section 1.
pub(crate) mod exit {
    /// Allowed, or done.
    pub(crate) const OK: u8 = 0;
    /// The machinery failed: nothing is known about the client.
    pub(crate) const FAILURE: u8 = 1;
    /// Denied, or a rule of `lint` fails.
    pub(crate) const DENIED: u8 = 2;
    /// Could not tell; asking again may help.
    pub(crate) const UNRESOLVED: u8 = 3;
    /// The command line makes no sense (`EX_USAGE` of sysexits.h).
    pub(crate) const USAGE: u8 = 64;
    /// `serve`: the evidence could not be written (`EX_IOERR`). A supervisor may start it again.
    pub(crate) const IO: u8 = 74;
}

const AFTER_HELP: &str = "\
Exit codes:
  0  allowed, or done
  1  failure of the machinery: nothing is known about the client
  2  denied, or a rule of `lint` fails
  3  unresolved: could not tell, asking again may help
 64  usage

Examples:
  countersign lint https://client.example/oauth/metadata.json
  countersign anchors check
  countersign doctor";

/// Verifies OAuth clients without storing them, and proves every answer.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = AFTER_HELP, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Configuration; default: `countersign.toml` if present, else built-in defaults
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Evidence, kill log, keys; over the configuration's `data_dir`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Trust anchors; over the configuration's `trust_anchors`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) trust_anchors: Option<PathBuf>,
    /// Policies; over the configuration's `policies`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Act through a running server where the command can, e.g. http://127.0.0.1:8650
    #[arg(long, global = true, value_name = "URL", env = "COUNTERSIGN_ADDR", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// Print JSON, one document, and nothing else on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no more than what was asked for: no hints, no headings
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Colors and marks; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Color,
}

/// When to use colors. No texts on the variants: they would make clap print every option of every command in the long form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// See it all work, on this machine alone: good and bad clients, a kill order, the evidence
    Demo(demo::Demo),
    /// Run the service
    Serve(serve::Serve),
    /// Decide once about a client
    Verify(verify::Verify),
    /// Why a decision came out as it did: every check, with its specification and what it rests on
    Explain(explain::Explain),
    /// List, show, audit and replay what was decided
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Which clients there are, whose they are, what they got and how they changed: out of the evidence
    Inventory(Box<inventory::InventoryCommand>),
    /// Give, list and lift kill orders
    Revoke(revoke::Revoke),
    /// Let one client have more for a while, on a named approver's word; list and review such overrides
    #[command(subcommand)]
    BreakGlass(break_glass::BreakGlass),
    /// Check a metadata document or a statement before publishing it: every rule, with the field at fault
    Lint(lint::Lint),
    /// List, check and make trust anchors; sign statements
    #[command(subcommand)]
    Anchors(anchors::Anchors),
    /// Check, test and compare policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// What federations and registries give out: entity statements, status lists
    #[command(subcommand)]
    Publish(publish::Publish),
    /// What is wrong with this installation, and what to do about it
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// What a subcommand came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For stdout.
    pub(crate) text: String,
    /// For stderr: what is worth knowing and not part of the answer.
    pub(crate) notes: Vec<String>,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Outcome {
    /// Done.
    pub(crate) const fn done(text: String) -> Self {
        Self { text, notes: Vec::new(), exit: exit::OK }
    }

    /// With another exit code.
    pub(crate) fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }
}

/// Parses, runs, prints.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, on stdout; everything else is a usage error.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return code.into();
        }
    };
    let context = Context::new(cli.global);
    match run(cli.command, &context) {
        Ok(outcome) => finish(&outcome),
        Err(failure) => {
            to_stderr(&context.paint_err.error_line(&failure.to_string()));
            failure.exit().into()
        }
    }
}

fn run(command: Command, context: &Context) -> Result<Outcome, Failure> {
    match command {
        Command::Demo(demo) => demo.run(context),
        Command::Serve(serve) => serve.run(context),
        Command::Verify(verify) => verify.run(context),
        Command::Explain(explain) => explain.run(context),
        Command::Evidence(evidence) => evidence.run(context),
        Command::Inventory(inventory) => inventory.run(context),
        Command::Revoke(revoke) => revoke.run(context),
        Command::BreakGlass(command) => command.run(context),
        Command::Lint(lint) => lint.run(context),
        Command::Anchors(anchors) => anchors.run(context),
        Command::Policy(policy) => policy.run(context),
        Command::Publish(publish) => publish.run(context),
        Command::Doctor(doctor) => doctor.run(context),
        Command::Completions(completions) => completions.run(&mut Cli::command()),
    }
}

/// Writes a line to stderr at once; nobody listening there is no failure.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Notes first, so that a terminal shows the answer last. A reader that went away (`| head`) is not a failure.
fn finish(outcome: &Outcome) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for note in &outcome.notes {
        let _ = writeln!(stderr, "{note}");
    }
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(outcome.text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => exit::FAILURE.into(),
        _ => outcome.exit.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(arguments: &str, expect: Option<u8>) {
        let parsed = Cli::try_parse_from(arguments.split(' '));
        let code = parsed.err().map(|error| if error.use_stderr() { exit::USAGE } else { exit::OK });
        assert_eq!(code, expect, "{arguments}");
    }

    #[test]
    fn usage_errors_are_64_and_help_is_0() {
        check("countersign anchors list", None);
        check("countersign anchors list --json --config x.toml", None);
        check("countersign --color never doctor", None);
        check("countersign --help", Some(0));
        check("countersign anchors sign --help", Some(0));
        check("countersign --version", Some(0));
        check("countersign", Some(64));
        check("countersign wat", Some(64));
        check("countersign anchors keygen --alg HS256 --out k", Some(64));
        check("countersign doctor --color sometimes", Some(64));
    }
}
