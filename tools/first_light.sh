#!/usr/bin/env bash
# `make run`: starts the daemon on the embedded model, waits for SERVING, streams one completion
# with its statistics, then keeps serving until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/bin
listen=${ALCCA_LISTEN:-127.0.0.1:50051}
metrics=${ALCCA_METRICS_LISTEN:-127.0.0.1:9090}
prompt=${ALCCA_PROMPT:-"Once upon a time, there was a little rabbit who"}

log=build/release/alccad.log

"$bin/alccad" --listen "$listen" --metrics-listen "$metrics" 2>"$log" &
daemon=$!
trap 'kill -TERM $daemon 2>/dev/null || true; wait $daemon 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Either it serves, or it has ended and said why; never wait for a daemon that is gone.
serving=
for _ in $(seq 60); do
  if "$bin/alcca" health --target "$listen" --wait 1 >/dev/null 2>&1; then serving=yes; break; fi
  kill -0 $daemon 2>/dev/null || break
done
if [ -z "$serving" ]; then
  echo "alccad did not start:" >&2
  cat "$log" >&2
  exit 1
fi
echo
"$bin/alcca" generate --target "$listen" --echo --max-tokens 200 --seed 7 --stats "$prompt"
echo
echo "Serving on $listen (metrics: http://$metrics/metrics, log: $log). Try:"
echo "  $bin/alcca generate --echo \"The old bear\"    $bin/alcca chat    $bin/alcca bench"
echo "Ctrl-C stops it."
wait $daemon
