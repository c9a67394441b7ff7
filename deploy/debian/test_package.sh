#!/usr/bin/env bash
# Installs the package in a fresh Debian 12 root, boots that root's own systemd in a container, and
# there starts, kills, starves, stops, reinstalls, removes and purges it (test_inside.sh).
# Needs root, mmdebstrap, systemd-container; about 350 MB on disk while it runs.
#
# usage: deploy/debian/test_package.sh FILE.deb
set -euo pipefail
deb=$(realpath "$1")
here=$(realpath "$(dirname "$0")")

for tool in mmdebstrap systemd-nspawn; do
  command -v $tool >/dev/null || { echo "test_package: $tool is not installed" >&2; exit 1; }
done
((EUID == 0)) || { echo "test_package: needs root" >&2; exit 1; }

work=$(mktemp -d /var/tmp/alcca-package.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root
sources=()
for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
  if [[ -s $file ]] && grep -q bookworm "$file"; then sources=("$file"); break; fi
done

unit='[Unit]
After=alccad.service
[Service]
Type=oneshot
StandardOutput=append:/result.log
StandardError=inherit
ExecStart=/bin/bash /test_inside.sh
ExecStopPost=systemctl --no-block poweroff'
mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
  --include=systemd-sysv,dbus,adduser \
  --customize-hook="copy-in $deb $here/test_inside.sh /" \
  --customize-hook="mv \"\$1/$(basename "$deb")\" \"\$1/package.deb\"" \
  --customize-hook='chroot "$1" apt-get install -qq -y --no-install-recommends /package.deb' \
  --customize-hook="printf '%s\n' '$unit' >\"\$1/etc/systemd/system/test-package.service\"" \
  --customize-hook='mkdir -p "$1/etc/systemd/system/multi-user.target.wants"' \
  --customize-hook='ln -s ../test-package.service "$1/etc/systemd/system/multi-user.target.wants/"' \
  bookworm "$root" "${sources[@]}" >"$work/make.log" 2>&1 || { cat "$work/make.log"; exit 1; }

if ! systemd-nspawn --quiet --register=no --keep-unit --directory "$root" /bin/true \
  </dev/null >"$work/boot.log" 2>&1; then
  echo "SKIPPED: this machine starts no containers; the package was installed, not run:"
  cat "$work/boot.log"
  exit 0
fi
timeout 600 systemd-nspawn --quiet --register=no --keep-unit --directory "$root" --boot \
  --console=pipe </dev/null >"$work/boot.log" 2>&1 || true
cat "$root/result.log" 2>/dev/null || cat "$work/boot.log"
if ! grep -q '^PACKAGE TEST PASSED$' "$root/result.log"; then
  tail -n 40 "$work/boot.log"
  echo "test_package: FAILED" >&2
  exit 1
fi
