#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER: compiles the workspace's own crates with the coverage that libFuzzer reads, on a stable compiler, and
# leaves dependencies as `cargo build` made them. Build scripts and procedural macros run during the build: no coverage for them.
case " $* " in
  *" --crate-name build_script_"* | *" --crate-type proc-macro "*) exec "$@" ;;
  *" --crate-name "*) ;;
  *) exec "$@" ;;
esac
exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on
