#!/usr/bin/env bash
# run_fuzzers.sh BIN_DIR SECONDS: each libFuzzer target over a scratch copy of its committed corpus.
set -euo pipefail
bin_dir=$1
seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
shopt -s nullglob
targets=("$bin_dir"/fuzz_*)
if ((${#targets[@]} == 0)); then
  echo "run_fuzzers: no targets in $bin_dir" >&2
  exit 1
fi
run_one() {
  local name corpus
  name=$(basename "$1")
  corpus=$root/tests/fuzz/corpus/${name#fuzz_}
  mkdir -p "$scratch/$name"
  if "$1" "$scratch/$name" "$corpus" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 \
    -artifact_prefix="$scratch/" >"$scratch/$name.log" 2>&1; then
    echo "fuzz: $name: $(grep -oE 'Done [0-9]+ runs in [0-9]+ second' "$scratch/$name.log")s, no finding"
  else
    echo "fuzz: $name FAILED"
    tail -40 "$scratch/$name.log"
    return 1
  fi
}
export -f run_one
export root scratch seconds
printf '%s\0' "${targets[@]}" | xargs -0 -n1 -P"$(nproc)" bash -c 'run_one "$1"' _
