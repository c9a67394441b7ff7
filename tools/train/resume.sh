#!/bin/sh
# Trains afia-5m and its twin, in the background of everything else, from where they were interrupted:
#     setsid nohup tools/train/resume.sh WORK > WORK/out.txt 2>&1 &
# WORK has venv/ and prepared/ (README.md); checkpoints and logs go to WORK/ladder, WORK/alcca, WORK/dense
# and WORK/alcca-tree. `kill -TERM` of this process stops both after a step, which they save.
set -e
here=$(cd "$(dirname "$0")" && pwd) work=$1 tokens=${2:-100e6}
grep -q amx_bf16 /proc/cpuinfo && bf16=--bf16
export OMP_NUM_THREADS=1
# A session of its own has a share of its own, in which nice counts for nothing (sched_autogroup): lower that, too.
echo 19 2>/dev/null >/proc/self/autogroup || true
# The default returns each step's memory to the system.
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296

run() {
    script=$1 out=$2
    shift 2
    nice -n 19 ionice -c 3 "$work/venv/bin/python" "$here/$script.py" --out "$work/$out" --resume "$@" &
    child=$!
    wait $child
}

alcca() {
    trap 'kill -TERM $child; wait $child; exit 143' TERM
    run ladder ladder
    run train alcca --data "$work/prepared" --init "$work/ladder/checkpoint.pt" --tokens "$tokens" \
        --beside "$work/dense" $bf16
    run train alcca-tree --data "$work/prepared" --init "$work/alcca/checkpoint.pt" --tokens 3e6 \
        --search tree --lr 0.1 $bf16
}

dense() {
    trap 'kill -TERM $child; wait $child; exit 143' TERM
    run train dense --attention dense --data "$work/prepared" --tokens "$tokens" --beside "$work/alcca" $bf16
}

alcca & first=$!
dense & second=$!
trap 'kill -TERM $first $second; wait $first; wait $second; exit 143' TERM
wait $first
wait $second
