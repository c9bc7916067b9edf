#!/usr/bin/env bash
# Fuzzes every target on stable Rust: fuzz/run.sh [seconds per target, 30]. One line a target; two at a time. On a crash the
# input stays in fuzz/artifacts/TARGET and the exit code is 1. New inputs go to fuzz/found/TARGET (not committed).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
export RUSTC_WORKSPACE_WRAPPER="$PWD/fuzz/rustc-wrapper.sh"
cargo build --quiet --package countersign-fuzz --bins
bins=${CARGO_TARGET_DIR:-target}/debug
mapfile -t targets < <(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | tail -n +2)

one() { # target
  local target=$1 log=fuzz/found/$1.log
  mkdir -p "fuzz/found/$target" "fuzz/artifacts/$target" "fuzz/corpus/$target"
  if "$bins/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="fuzz/artifacts/$target/" "fuzz/found/$target" "fuzz/corpus/$target" >"$log" 2>&1; then result=ok; else result=CRASH; fi
  printf '%-10s %10s runs  %6s edges  %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)" "$result"
  if [ "$result" != ok ]; then grep -m 3 -E 'panicked|SUMMARY|Test unit written' "$log" | sed 's/^/           /'; return 1; fi
}

status=0 running=()
for target in "${targets[@]}"; do
  one "$target" & running+=($!)
  if [ ${#running[@]} -eq 2 ]; then
    for job in "${running[@]}"; do wait "$job" || status=1; done
    running=()
  fi
done
for job in "${running[@]}"; do wait "$job" || status=1; done
exit $status
