"""alccad under a service manager: READY when it serves, WATCHDOG while the step loop turns,
STOPPING when it drains. The manager is this script's Unix socket, the daemon is the real one.

usage: notify_test.py ALCCAD ALCCA
"""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ALCCAD, ALCCA = sys.argv[1:3]
PATIENCE = 120  # seconds; sanitizer builds on a busy machine are slow
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 17, 0x4206, 0x4207, 0x40000000


def ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


class Manager:
    """A socket to be notified on, and the daemon that notifies it."""

    def __init__(self, address, *flags):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        shown = "@" + address[1:] if address.startswith("\0") else address
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [ALCCAD, "--listen=127.0.0.1:0", "--metrics-listen", "",
             "--log-format=json", *flags],
            env={**os.environ, "NOTIFY_SOCKET": shown}, stdout=subprocess.PIPE, stderr=self.log,
            text=True)

    def await_message(self, wanted, patience=PATIENCE):
        """Everything that came up to and with `wanted`; None when it does not come."""
        seen, end = [], time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(min(left, 0.5))
            try:
                seen.append(self.socket.recv(4096).decode())
            except TimeoutError:
                if self.process.poll() is not None:
                    self.log.seek(0)
                    raise AssertionError(f"alccad ended: {self.log.read()}")
                continue
            if wanted in seen[-1].split("\n"):
                return seen
        return None

    def step_thread(self):
        end = time.monotonic() + PATIENCE  # on a busy machine it may not have run yet
        while time.monotonic() < end:
            for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
                if (task / "comm").read_text() == "alcca-step\n":
                    return int(task.name)
        raise AssertionError("no thread is called alcca-step")

    def target(self):
        line = self.process.stdout.readline()  # listening grpc=HOST:PORT ...
        return line.split("grpc=")[1].split()[0]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.socket.close()


def health(target, service):
    return subprocess.run([ALCCA, "health", "--target", target, "--service", service],
                          capture_output=True, timeout=PATIENCE).returncode


class Notify(unittest.TestCase):
    def start(self, address, *flags):
        manager = Manager(address, *flags)
        self.addCleanup(manager.close)
        return manager

    def test_life(self):
        with tempfile.TemporaryDirectory() as folder:
            manager = self.start(folder + "/notify")
            seen = manager.await_message("READY=1")
            self.assertIsNotNone(seen)
            self.assertEqual(seen[0], "STATUS=Loading the model")
            self.assertNotIn("WATCHDOG=1", seen, "the watchdog is fed before READY")
            self.assertEqual(health(manager.target(), "readiness"), 0)
            for _ in range(2):
                self.assertIsNotNone(manager.await_message("WATCHDOG=1"))
            manager.process.send_signal(signal.SIGTERM)
            self.assertIsNotNone(manager.await_message("STOPPING=1"))
            self.assertEqual(manager.process.wait(PATIENCE), 0)

    def test_abstract_address(self):
        manager = self.start(f"\0alcca-notify-{os.getpid()}")
        self.assertIsNotNone(manager.await_message("READY=1"))

    def test_no_manager_is_no_failure(self):
        for address in ("/nonexistent/socket", "vsock:2:1", "/" + "x" * 200):
            process = subprocess.Popen(
                [ALCCAD, "--listen=127.0.0.1:0", "--metrics-listen", ""],
                env={**os.environ, "NOTIFY_SOCKET": address}, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True)
            self.assertIn("listening", process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 0)
            self.assertIn("NOTIFY_SOCKET", log)

    def test_watchdog_starves_when_the_step_loop_stands_still(self):
        with tempfile.TemporaryDirectory() as folder:
            manager = self.start(folder + "/notify", "--watchdog-seconds=2")
            self.assertIsNotNone(manager.await_message("READY=1"))
            target, tid = manager.target(), manager.step_thread()
            try:
                ptrace(PTRACE_SEIZE, tid)
            except OSError as error:
                self.skipTest(f"this machine forbids stopping one thread: {error}")
            ptrace(PTRACE_INTERRUPT, tid)
            os.waitpid(tid, WALL)
            end = time.monotonic() + PATIENCE
            while health(target, "liveness") == 0 and time.monotonic() < end:
                pass
            self.assertNotEqual(health(target, "liveness"), 0)
            manager.await_message("", patience=0.1)  # what was sent before it stood still
            self.assertIsNone(manager.await_message("WATCHDOG=1", patience=4))
            ptrace(PTRACE_DETACH, tid)
            self.assertIsNotNone(manager.await_message("WATCHDOG=1"))
            self.assertEqual(health(target, "liveness"), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
