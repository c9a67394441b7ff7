#!/usr/bin/env bash
# Builds the image of the Dockerfile without a Docker engine or a registry: buildah runs the file's
# own steps in a chroot, over a Debian 12 root of mmdebstrap's. Needs root, buildah, mmdebstrap.
#
# usage: deploy/container/build_image.sh [cpu|cuda] [OUT.tar]    (an OCI archive in build/container/)
#
# For `cuda`, the toolkit of this machine (/usr/local/cuda) stands in for NVIDIA's image.
# Times are those of the last commit, so that the same commit gives the same layer.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-cpu}
work=$PWD/build/container
out=${2:-$work/alcca-$target.tar}
mkdir -p "$work"

for tool in buildah mmdebstrap; do
  command -v $tool >/dev/null || { echo "build_image: $tool is not installed" >&2; exit 1; }
done
((EUID == 0)) || { echo "build_image: needs root" >&2; exit 1; }

echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
driver=${ALCCA_STORAGE_DRIVER:-overlay}
buildah() {
  command buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"
}
# import NAME SOURCE PLACE: an image of one tar archive or folder.
import() {
  local container
  container=$(buildah from --signature-policy "$work/policy.json" scratch)
  buildah add -q "$container" "$2" "$3" >/dev/null
  buildah commit -q --signature-policy "$work/policy.json" "$container" "$1" >/dev/null
  buildah rm "$container" >/dev/null
}

if ! buildah inspect --type image localhost/debian:12 >/dev/null 2>&1; then
  sources=()
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if [[ -s $file ]] && grep -q bookworm "$file"; then sources=("$file"); break; fi
  done
  mmdebstrap --quiet --mode=root --variant=minbase bookworm "$work/debian.tar" "${sources[@]}"
  import localhost/debian:12 "$work/debian.tar" /
  rm "$work/debian.tar"
fi

arguments=(--build-arg DEBIAN_IMAGE=localhost/debian:12)
if [[ $target == cuda ]]; then
  if ! buildah inspect --type image localhost/cuda-toolkit >/dev/null 2>&1; then
    import localhost/cuda-toolkit "$(readlink -f /usr/local/cuda)" /usr/local/cuda
  fi
  arguments+=(--build-arg CUDA_IMAGE=localhost/cuda-toolkit)
fi

epoch=$(git log -1 --format=%ct)
buildah bud --isolation chroot --signature-policy "$work/policy.json" --pull-never --layers \
  --format docker --timestamp "$epoch" --build-arg SOURCE_DATE_EPOCH="$epoch" \
  "${arguments[@]}" --ignorefile .dockerignore --target "$target" -t "localhost/alcca:$target" .
rm -f "$out"
buildah push -q --signature-policy "$work/policy.json" --format oci "localhost/alcca:$target" \
  "oci-archive:$out:alcca:$target"
echo "$out: $(stat -c %s "$out") bytes packed"
