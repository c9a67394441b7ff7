#!/bin/sh
# Trains afia-5m, or its twin, in the background of everything else, from where it was interrupted:
#     setsid nohup tools/train/resume.sh WORK [alcca|dense] > WORK/out.txt 2>&1 &
# WORK has venv/ and prepared/ (README.md); checkpoints and logs go to WORK/alcca* or WORK/dense*.
set -e
here=$(dirname "$0") work=$1 kind=${2:-alcca}
grep -q amx_bf16 /proc/cpuinfo && bf16=--bf16
export OMP_NUM_THREADS=1
# A session of its own has a share of its own, in which nice counts for nothing (sched_autogroup): lower that, too.
echo 19 2>/dev/null >/proc/self/autogroup || true
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296

run() {
    script=$1 out=$2
    shift 2
    nice -n 19 ionice -c 3 "$work/venv/bin/python" "$here/$script.py" --out "$work/$out" --attention "$kind" \
        --resume $bf16 "$@"
}

run ladder "$kind-ladder"
run train "$kind" --data "$work/prepared" --init "$work/$kind-ladder/checkpoint.pt" --tokens 100e6
if [ "$kind" = alcca ]; then
    run train alcca-tree --data "$work/prepared" --init "$work/alcca/checkpoint.pt" --tokens 3e6 --search tree --lr 0.1
fi
