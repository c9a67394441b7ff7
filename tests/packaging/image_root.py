"""Runs alccad in a container's root as a container engine would: that root alone, read-only, as
the image's user, with the image's own command line. Needs root, util-linux and coreutils."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tarfile
import tempfile

PATIENCE = 120
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # for the tools outside
ENTER = r"""
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
  : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro "$root/dev"
user=$1; shift
exec chroot --userspec="$user:$user" "$root" "$@"
"""


def config_of(archive: pathlib.Path, out: pathlib.Path) -> dict:
    """Unpacks an OCI archive's layers into `out`; the image's configuration."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
        blobs = pathlib.Path(folder)

        def blob(descriptor):
            algorithm, _, digest = descriptor["digest"].partition(":")
            return blobs / "blobs" / algorithm / digest

        index = json.loads((blobs / "index.json").read_text())
        manifest = json.loads(blob(index["manifests"][0]).read_text())
        for layer in manifest["layers"]:
            with tarfile.open(blob(layer)) as tar:
                assert not [m for m in tar.getnames() if "/.wh." in m], "a layer removes files"
                tar.extractall(out, numeric_owner=True)
        return json.loads(blob(manifest["config"]).read_text())["config"]


class Daemon:
    """alccad in `root`; close() kills it."""

    def __init__(self, root: pathlib.Path, user: str, words: list[str]):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter",
             str(root), user, *words],
            env=PATH, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "grpc=" not in line:
            self.close()
            raise AssertionError(f"the daemon did not start: {self.written}")
        self.port = line.split("grpc=")[1].split()[0].rpartition(":")[2]
        self.metrics_port = line.split("metrics=")[1].split()[0].rpartition(":")[2]

    def in_status(self, field: str) -> list[str]:
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return line.split()[1:]
        raise AssertionError(field)

    def files_open_for_writing(self) -> list[str]:
        found = []
        for link in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            flags = pathlib.Path(f"/proc/{self.process.pid}/fdinfo/{link.name}").read_text()
            target = os.readlink(link)
            if int(flags.split()[3], 8) & 3 and target.startswith("/") and int(link.name) > 2:
                found.append(target)
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.seek(0)
        self.written = self.log.read()
        self.log.close()


def resolved(root: pathlib.Path, program: str) -> list[str]:
    """Of each library that `program` asks for, where the root's own dynamic loader finds it."""
    done = subprocess.run(["chroot", str(root), "/lib64/ld-linux-x86-64.so.2", "--list", program],
                          capture_output=True, text=True, env=PATH)
    return [line.strip() for line in (done.stdout + done.stderr).splitlines()]


def library_gaps(root: pathlib.Path, program: str) -> list[str]:
    return [line for line in resolved(root, program) if "not found" in line or "cannot" in line]


def libraries(root: pathlib.Path, program: str) -> set[str]:
    found = re.findall(r"(/\S+) \(0x", "\n".join(resolved(root, program)))
    return {pathlib.Path(path).name for path in found}
