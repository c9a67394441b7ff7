#!/usr/bin/env bash
# FAISS for the GPU from Debian's own source package, of the version of the installed libfaiss-dev,
# which supplies the CPU half. Gives PREFIX/lib/libfaiss_gpu.a and PREFIX/include/faiss/gpu; point
# ALCCA_FAISS_CUDA_ROOT at PREFIX. Does nothing when PREFIX already holds what is asked for.
#
#   tools/build_faiss_cuda.sh [--arch 90] [--prefix build/faiss-cuda] [--jobs N] [--headers-only]
#
# --arch          as CMAKE_CUDA_ARCHITECTURES, without dots; default: the local card's, else 90
# --headers-only  fetch and install the headers alone: enough to compile what uses FAISS
set -euo pipefail
cd "$(dirname "$0")/.."
arch="" prefix=$PWD/build/faiss-cuda jobs=$(nproc) headers_only=no
while (($#)); do
  case $1 in
    --arch) arch=$2; shift 2 ;;
    --prefix) prefix=$(realpath -m "$2"); shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    --headers-only) headers_only=yes; shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

fail() { echo "build_faiss_cuda: $1" >&2; exit 1; }
if [[ -z $arch ]]; then
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .) || true
  [[ $arch =~ ^[0-9]+$ ]] || arch=90
fi
PATH=$PATH:/usr/local/cuda/bin
[[ $headers_only = yes ]] || command -v nvcc >/dev/null || fail "no nvcc on PATH or in /usr/local/cuda/bin"
version=$(dpkg-query -W -f '${source:Version}' libfaiss-dev 2>/dev/null) ||
  fail "libfaiss-dev is not installed; tools/setup.sh installs it"

# What PREFIX holds is written down last, so that a build that was cut off counts as none.
stamp=$prefix/BUILT
wanted="faiss $version headers"
if [[ $headers_only = no ]]; then
  wanted="faiss $version sm_$arch nvcc $(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
fi
if [[ -e $stamp ]] && { grep -qxF "$wanted" "$stamp" || [[ $headers_only = yes &&
    $(<"$stamp") = "faiss $version "* ]]; }; then
  echo "build_faiss_cuda: $prefix has $(<"$stamp")"
  exit 0
fi

# The distribution's own sources, asked for as deb-src in an apt configuration of ours: the machine's
# stays as it is, and nobody needs to be root.
work=$prefix/work
rm -rf "$stamp" "$work/apt"
mkdir -p "$work"/apt/{parts,lists/partial,cache/archives/partial}
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [[ ! -e $file ]] || sed -n 's/^deb /deb-src /p' "$file" >"$work/apt/parts/$(basename "$file" .list).list"
done
for file in /etc/apt/sources.list.d/*.sources; do
  [[ ! -e $file ]] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/apt/parts/$(basename "$file")"
done
own_apt=(-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/apt/parts"
  -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=)
source_dir=$work/faiss-$version
if [[ ! -d $source_dir ]]; then
  echo "build_faiss_cuda: fetching the source package faiss $version"
  apt-get "${own_apt[@]}" update
  (cd "$work" && apt-get "${own_apt[@]}" source --download-only "faiss=$version")
  dpkg-source -x "$work"/faiss_"${version#*:}".dsc "$source_dir.part" >/dev/null
  mv "$source_dir.part" "$source_dir"
fi

if [[ $headers_only = yes ]]; then
  mkdir -p "$prefix/include/faiss"
  (cd "$source_dir/faiss" && find gpu -name '*.h' -o -name '*.cuh') |
    while read -r header; do
      install -D -m 644 "$source_dir/faiss/$header" "$prefix/include/faiss/$header"
    done
else
  launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  echo "build_faiss_cuda: compiling for sm_$arch with $jobs jobs (minutes)"
  cmake -S tools/faiss_cuda -B "$work/build-$arch" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DFAISS_SOURCE="$source_dir" -DCMAKE_CUDA_ARCHITECTURES="$arch-real" \
    -DCMAKE_INSTALL_PREFIX="$prefix" "${launcher[@]}" >"$work/configure.log" ||
    { cat "$work/configure.log" >&2; exit 1; }
  cmake --build "$work/build-$arch" -j"$jobs"
  cmake --install "$work/build-$arch" >/dev/null
fi
echo "$wanted" >"$stamp"
echo "build_faiss_cuda: $wanted in $prefix, $SECONDS s," \
  "$(du -sh "$prefix/include" 2>/dev/null | cut -f1) of headers," \
  "library $(du -h "$prefix"/lib/libfaiss_gpu.a 2>/dev/null | cut -f1)"
