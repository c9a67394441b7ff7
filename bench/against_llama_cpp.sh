#!/usr/bin/env bash
# The same shape in int8 here and in Q8_0 under llama.cpp, in turns on one machine: prefill of 512
# tokens and decoding of 32.
#
#   bench/against_llama_cpp.sh LLAMA_BENCH MODEL.gguf MODEL_DIR [ROUNDS]
#
# MODEL_DIR may hold random weights of any shape (alcca-make-checkpoint); MODEL.gguf is made of it by
# llama.cpp's convert_hf_to_gguf.py --outtype q8_0.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 64
fi
llama_bench=$1 gguf=$2 model=$3 rounds=${4:-2}
here=$(cd "$(dirname "$0")/.." && pwd)
bench="$here/build/release/bin/model_bench"
if [ ! -x "$bench" ]; then
  echo "against_llama_cpp: no $bench, which \`make build\` leaves out. Build it, in $here:" >&2
  echo "  cmake --preset release -DBUILD_TESTING=OFF -DALCCA_BENCH=ON && cmake --build build/release" >&2
  exit 69
fi
if ! command -v "$llama_bench" >/dev/null; then
  echo "against_llama_cpp: $llama_bench is no program" >&2
  exit 69
fi
threads=$(nproc)
for round in $(seq "$rounds"); do
  echo "--- round $round: alcca-server, int8"
  "$bench" --model "$model" --weight-dtype int8 --prompt 512 \
    --decode 32 --repeat 2 --threads "$threads"
  echo "--- round $round: llama.cpp, Q8_0"
  "$llama_bench" -m "$gguf" -p 512 -n 32 -r 2 -t "$threads" -o md
done
