#!/usr/bin/env bash
# The checks of kubernetes_test.py in a venv of their own, made once per build folder.
# Exit code 77 (skipped, for ctest) if the packages cannot be had outside CI.
# Usage: kubernetes_test.sh SOURCE BUILD ALCCAD ALCCA
set -euo pipefail
source_dir=$1 build=$2 alccad=$3 alcca=$4
here="$source_dir/tests/deploy"
venv="$build/kubernetes-venv"
stamp="$venv/requirements.txt"

if ! cmp -s "$here/requirements.txt" "$stamp"; then
  rm -rf "$venv"
  if ! { python3 -m venv "$venv" &&
         "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 3 \
           -r "$here/requirements.txt"; }; then
    echo "kubernetes_test: tests/deploy/requirements.txt cannot be installed" >&2
    [[ ${CI:-} == true ]] && exit 1
    exit 77
  fi
  cp "$here/requirements.txt" "$stamp"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$here/kubernetes_test.py" \
  "$source_dir" "$alccad" "$alcca" "$venv/bin/kubectl"
