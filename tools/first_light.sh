#!/usr/bin/env bash
# `make run`: starts the daemon on the embedded model, streams one completion with its statistics as
# soon as it serves, then keeps serving until Ctrl-C. `make run MODEL=NAME`: the same with an assistant
# that tools/fetch_model.py fetches, or with a folder or GGUF of one's own.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/bin
listen=${ALCCA_LISTEN:-127.0.0.1:50051}
metrics=${ALCCA_METRICS_LISTEN:-127.0.0.1:9090}
case ${ALCCA_MODEL:-} in
  "") model= first=(generate --echo) prompt="Once upon a time, there was a little rabbit who" ;;
  */* | *.gguf) model=$ALCCA_MODEL first=(generate --echo) prompt="Once upon a time" ;;
  *) model=$(tools/fetch_model.py "$ALCCA_MODEL") first=(chat)
     prompt="What is the capital of France, and what is it known for?" ;;
esac
prompt=${ALCCA_PROMPT:-$prompt}

# One of its own, for another daemon may be writing; at the end it becomes alccad.log.
log=build/release/alccad-$$.log
: >"$log"  # the daemon's shell may come to it later than the loop below

"$bin/alccad" ${model:+--model "$model"} --listen "$listen" --metrics-listen "$metrics" >"$log" 2>&1 &
daemon=$!
trap 'kill -TERM $daemon 2>/dev/null || true; wait $daemon 2>/dev/null || true
      mv -f "$log" build/release/alccad.log' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Its own word that it serves: whoever answers on the port may be another daemon.
target=
for _ in $(seq 3000); do  # a large model is packed for minutes on a small machine
  target=$(sed -n 's/^listening grpc=\([^ ]*\).*/\1/p' "$log")
  if [ -n "$target" ] || ! kill -0 $daemon 2>/dev/null; then break; fi
  sleep 0.1
done
if [ -z "$target" ] || ! kill -0 $daemon 2>/dev/null; then
  echo "alccad did not start:" >&2
  tail -n 5 "$log" >&2
  echo "Is another daemon on $listen or $metrics? Stop it, or choose other ports:" >&2
  echo "  ALCCA_LISTEN=127.0.0.1:50052 ALCCA_METRICS_LISTEN=127.0.0.1:9091 make run" >&2
  exit 1
fi
metrics=$(sed -n 's/^listening .*metrics=\([^ ]*\).*/\1/p' "$log")
echo
"$bin/alcca" "${first[@]}" --target "$target" --max-tokens 200 --seed 7 --stats "$prompt"
echo
echo "Serving on $target (metrics: http://$metrics/metrics, log: $log). Try:"
echo "  $bin/alcca generate --echo \"The old bear\"    $bin/alcca chat    $bin/alcca bench"
echo "Ctrl-C stops it."
wait $daemon
