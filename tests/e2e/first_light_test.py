"""`make run` beside itself: first_light_test.py BIN. The first serves and prints a completion; the second
finds the port taken, says so, and leaves the first and its log alone."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(tree, listen):
    return subprocess.Popen([tree / "tools/first_light.sh"], text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, "ALCCA_LISTEN": listen, "ALCCA_METRICS_LISTEN": "127.0.0.1:0"})


def read_until(process, pattern):
    seen, deadline = "", time.monotonic() + 120
    while not re.search(pattern, seen):
        line = process.stdout.readline()
        assert line and time.monotonic() < deadline, seen
        seen += line
    return seen


def check(tree):
    listen = f"127.0.0.1:{free_port()}"
    first = start(tree, listen)
    try:
        seen = read_until(first, "Ctrl-C stops it")
        assert "Once upon a time, there was a little rabbit who" in seen, seen
        assert f"Serving on {listen}" in seen and "http://127.0.0.1:0/" not in seen, seen
        log = tree / re.search(r"log: (\S+)\)", seen).group(1)
        before = log.read_text()
        assert f"listening grpc={listen}" in before, before

        second = start(tree, listen)
        said, _ = second.communicate(timeout=120)
        assert second.returncode == 1, (second.returncode, said)
        assert "did not start" in said and f"another daemon on {listen}" in said, said
        assert "Once upon a time" not in said, said
        assert log.read_text().startswith(before) and first.poll() is None, log.read_text()
    finally:
        os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C does
        first.communicate(timeout=60)
    assert first.returncode in (0, 130), first.returncode
    logs = list((tree / "build/release").glob("alccad*.log"))
    assert [path.name for path in logs] == ["alccad.log"], logs
    assert logs[0].read_text().startswith(before), "the log of the one that ended last"


def main():
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        (tree / "tools").mkdir()
        shutil.copy(ROOT / "tools/first_light.sh", tree / "tools")
        (tree / "build/release").mkdir(parents=True)
        (tree / "build/release/bin").symlink_to(pathlib.Path(sys.argv[1]).resolve())
        check(tree)


if __name__ == "__main__":
    main()
