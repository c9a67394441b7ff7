#!/usr/bin/env bash
# Installs the Debian packages of tools/packages.txt (or of the list named) that are missing.
# Idempotent; says what it needs when it may not install.
set -euo pipefail
cd "$(dirname "$0")"
list=${1:-packages.txt}

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this script knows Debian 12 only; install the equivalents of tools/$list" >&2
  exit 1
fi

missing=()
while read -r package; do
  [[ -z $package || $package == \#* ]] && continue
  if [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) != ii* ]]; then
    missing+=("$package")
  fi
done <"$list"

if ((${#missing[@]} == 0)); then
  exit 0
fi

if ((EUID == 0)); then
  as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
  as_root=(sudo)
else
  echo "setup: neither root nor sudo; ask an administrator to run:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
# The prometheus package would start a service; tests start their own on a free port.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
  --no-install-recommends "${missing[@]}" >/dev/null
