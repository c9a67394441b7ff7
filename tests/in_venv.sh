#!/usr/bin/env bash
# Runs a Python test in a venv of its own, made once per build folder.
# Exit code 77 (skipped, for ctest) if the packages cannot be had outside CI.
# Usage: in_venv.sh REQUIREMENTS VENV TEST [ARGUMENT...]
set -euo pipefail
requirements=$1 venv=$2
shift 2
stamp="$venv/requirements.txt"

if ! cmp -s "$requirements" "$stamp"; then
  rm -rf "$venv"
  if ! { python3 -m venv "$venv" &&
         "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 3 \
           -r "$requirements"; }; then
    echo "in_venv: $requirements cannot be installed" >&2
    [[ ${CI:-} == true ]] && exit 1
    exit 77
  fi
  cp "$requirements" "$stamp"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$@"
