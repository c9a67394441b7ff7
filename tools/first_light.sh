#!/usr/bin/env bash
# `make run`: starts the daemon on the embedded model, waits for SERVING, streams one completion
# with its statistics, then keeps serving until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/bin
listen=${ALCCA_LISTEN:-127.0.0.1:50051}
metrics=${ALCCA_METRICS_LISTEN:-127.0.0.1:9090}
prompt=${ALCCA_PROMPT:-"Once upon a time, there was a little rabbit who"}

"$bin/alccad" --listen "$listen" --metrics-listen "$metrics" &
daemon=$!
trap 'kill -TERM $daemon 2>/dev/null || true; wait $daemon 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! "$bin/alcca" health --target "$listen" --wait 60; then
  echo "the daemon did not become healthy; its log is above" >&2
  exit 1
fi
echo
"$bin/alcca" generate --target "$listen" --max-tokens 160 --seed 7 --stats "$prompt"
echo
echo "Serving on $listen (metrics: http://$metrics/metrics). Try:"
echo "  $bin/alcca generate \"The old bear\"     $bin/alcca chat     $bin/alcca bench"
echo "Ctrl-C stops it."
wait $daemon
