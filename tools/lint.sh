#!/usr/bin/env bash
# lint.sh format       every C++ and CUDA source is as clang-format-14 writes it
# lint.sh tidy         clang-tidy-14 over every source of attention, base, kernels, engine, server, tools
# lint.sh tidy BASE    the same over those that differ from the commit BASE, or whose header does
set -euo pipefail
cd "$(dirname "$0")/.."

sources() { git ls-files '*.h' '*.cc' '*.cu' '*.cuh'; }

# Sources of one instruction set are left out: clang's intrinsics are not GCC's.
tidied() {
  git ls-files {attention,base,kernels,engine,server,tools}/'*.cc' |
    grep -v -e '_avx[25]' -e '_stub\.cc$'
}

changed_since() {
  git diff --name-only --diff-filter=d "$1" -- '*.cc' '*.h' | sed 's/\.h$/.cc/' | sort -u
}

case ${1:-} in
  format)
    sources | xargs -P"$(nproc)" -n40 clang-format-14 --dry-run -Werror
    ;;
  tidy)
    files=$(tidied)
    if [[ -n ${2:-} ]]; then
      files=$(comm -12 <(sort <<<"$files") <(changed_since "$2"))
    fi
    echo "clang-tidy: $(wc -w <<<"$files") of $(tidied | wc -l) files"
    [[ -n $files ]] || exit 0
    cmake --preset lint >build-lint.log || { cat build-lint.log; exit 1; }
    rm -f build-lint.log
    cmake --build --preset lint >/dev/null
    xargs -P"$(nproc)" -n1 clang-tidy-14 -p build/lint --quiet <<<"$files"
    ;;
  *)
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 64
    ;;
esac
