#!/bin/bash
# The part of test_package.sh that runs under the container's own systemd.
set -euo pipefail
trap 'echo "FAILED at line $LINENO"; systemctl status --no-pager alccad
      journalctl -n 30 -u alccad' ERR

say() { printf '%4d s  %s\n' "$SECONDS" "$1"; }
show() { systemctl show --value -p "$1" alccad; }
await() {  # await CONDITION...: at most two minutes
  for _ in $(seq 240); do if "$@"; then return 0; fi; sleep 0.5; done
  echo "never came: $*"
  return 1
}
restarts_above() { [[ $(show NRestarts) -gt $1 && $(show ActiveState) == active ]]; }

dpkg -L alcca-server | while read -r path; do [[ -d $path ]] || echo "$path"; done >/files
dpkg --verify alcca-server
systemctl is-enabled --quiet alccad
systemctl start alccad  # Type=notify: comes back when health says SERVING
alcca health
[[ $(show StatusText) == Serving && $(show NRestarts) == 0 ]]
say "started at boot"

pid=$(show MainPID)
field() { awk -v name="$1:" '$1 == name {print $2}' "/proc/$pid/status"; }
[[ $(ps -o user= -p "$pid" 2>/dev/null || stat -c %U "/proc/$pid") == alcca ]]
[[ $(field CapEff) == 0000000000000000 && $(field NoNewPrivs) == 1 && $(field Seccomp) == 2 ]]
[[ $(stat -c %U:%a /var/lib/alcca) == alcca:755 ]]
alcca generate --seed 7 --max-tokens 24 --json "Once upon a time" >/stream
[[ $(wc -l </stream) -gt 3 ]]
journalctl -u alccad -o cat | grep -q '"msg":"serving"'
journalctl -u alccad -o cat | grep -q '"msg":"call"\|"code":"OK"'
say "unprivileged, sandboxed, streams, logs to the journal"

kill -KILL "$pid"
await restarts_above 0
alcca health
say "killed: restarted"

mkdir -p /run/systemd/system/alccad.service.d
printf '[Service]\nWatchdogSec=4\n' >/run/systemd/system/alccad.service.d/soon.conf
systemctl daemon-reload
systemctl restart alccad
before=$(show NRestarts)
sleep 8  # two periods: fed, it lives
[[ $(show NRestarts) == "$before" && $(show ActiveState) == active ]]
kill -STOP "$(show MainPID)"
await restarts_above "$before"
journalctl -u alccad | grep -qi watchdog
say "stopped dead: the watchdog restarted it"
rm -r /run/systemd/system/alccad.service.d
systemctl daemon-reload

systemctl stop alccad
[[ $(show Result) == success && $(show ExecMainStatus) == 0 ]]
say "stopped: exit 0"

echo 'max_num_seq: 1' >>/etc/alcca/alccad.yaml
if systemctl start alccad; then echo "started on a wrong file"; false; fi
[[ $(show ExecMainStatus) == 64 && $(show ActiveState) == failed ]]
journalctl -u alccad -o cat | grep -q "did you mean 'max_num_seqs'"
sed -i '$d' /etc/alcca/alccad.yaml
systemctl reset-failed alccad
systemctl start alccad
say "a wrong configuration is named and not retried"

pid=$(show MainPID)
export DEBIAN_FRONTEND=noninteractive
dpkg -i /package.deb >/dev/null
await alcca health --timeout 1 >/dev/null 2>&1
[[ $(show MainPID) != "$pid" ]]
say "installed over itself: restarted"

dpkg -r alcca-server >/dev/null
[[ $(show ActiveState) == inactive && -e /etc/alcca/alccad.yaml && ! -e /usr/bin/alccad ]]
if pgrep -x alccad 2>/dev/null; then false; fi
say "removed: stopped, the configuration stays"

dpkg -P alcca-server >/dev/null
while read -r path; do [[ ! -e $path ]] || { echo "left: $path"; false; }; done </files
if getent passwd alcca; then echo "the user is left"; false; fi
left=$(find / -xdev \( -path /proc -o -path /sys -o -path /var/log -o -path /run -o -path /tmp \) \
  -prune -o \( -name '*alcca*' -a -print \))
[[ -z $left ]] || { echo "left: $left"; false; }
say "purged: nothing is left"
echo "PACKAGE TEST PASSED"
