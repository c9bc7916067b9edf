//! The `countersign` command: parse arguments, run, exit code. Everything else is in `cli`, one file a subcommand.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os())
}
