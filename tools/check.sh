#!/usr/bin/env bash
# check.sh BUILD: the unit tests of a build, without the emulated device, and the tests of the tree.
# Each binary runs in two parts, as many parts at once as there are cores.
set -euo pipefail
build=$1
run_part() {
  local log
  log=$(mktemp)
  if GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$2 "$1" --gtest_filter='-*cuda*:*Cuda*' --gtest_brief=1 \
    >"$log" 2>&1; then
    echo "$(basename "$1"), part $(($2 + 1)) of 2: $(sed -n 's/^\[==========\] //p' "$log")"
    rm -f "$log"
  else
    cat "$log"
    rm -f "$log"
    return 1
  fi
}
export -f run_part
for name in conformance engine server kernels attention base; do
  if [[ -x $build/bin/${name}_tests ]]; then
    printf '%s\0' "$build/bin/${name}_tests" 0 "$build/bin/${name}_tests" 1
  fi
done | xargs -0 -n2 -P"$(nproc)" bash -c 'run_part "$@"' _
ctest --test-dir "$build" --output-on-failure -j"$(nproc)" -L house
