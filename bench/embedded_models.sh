#!/usr/bin/env bash
# The figures of models/afia-5m and its twin: held-out loss per attention mode, far-key tasks, the
# published card's table. Exact search is quadratic in LENGTHS: 1000 takes minutes on two cores.
#
#   make build && bench/embedded_models.sh [OUT_DIR] [LENGTHS]
#
# OUT_DIR (bench/results) gets JSON; LENGTHS (1000,4000,16000,32000) are the table's, the twin's the
# first alone: counts do not depend on weights. Beyond the models' 1,024 positions losses are those of
# a model that never saw such distances (docs/performance.md). All lengths take most of an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench/results} lengths=${2:-1000,4000,16000,32000}
mkdir -p "$out"  # now: the first figures are written after minutes
bin=build/release/bin work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT

serve() {  # MODEL_DIR: sets $target
  : >"$work/log"
  "$bin/alccad" --model "$1" --listen 127.0.0.1:0 --metrics-listen "" >"$work/log" 2>&1 &
  pids+=($!)
  until target=$(sed -n 's/^listening grpc=\([^ ]*\).*/\1/p' "$work/log") && [ -n "$target" ]; do
    kill -0 "${pids[-1]}" || { cat "$work/log"; exit 1; }
    sleep 0.2
  done
}

for model in afia-5m afia-5m-dense; do
  # The same weights with room for the long lengths.
  cp -r "models/$model" "$work/$model"
  sed -i 's/"max_position_embeddings": .*,/"max_position_embeddings": 32768,/' "$work/$model/config.json"
  serve "$work/$model"
  echo "== $model: held-out stories"
  "$bin/alcca" eval --target "$target" --text models/afia-5m/heldout.txt --length 512 \
    --modes dense,alcca:theta=0,alcca,tree,matched,multipole:dense_below=0:recent=64:max_keys=256 --json "$out/$model-loss.json"
  for task in passkey recall; do
    echo "== $model: $task"
    "$bin/alcca" tasks --target "$target" --task $task --lengths 500 --samples 64 --json "$out/$model-$task.json"
  done
  echo "== $model: the card's table"
  "$bin/alcca" eval --target "$target" --card-table --text models/afia-5m/heldout_book.txt --theta 0 \
    --lengths "$lengths" --json "$out/$model-card.json"
  kill "${pids[-1]}"
  lengths=${lengths%%,*}
done
