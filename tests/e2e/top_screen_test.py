"""`alcca top` on a terminal of its own: what it draws, keys, window changes, signals, and a daemon
that goes away and comes back.

Usage: top_screen_test.py ALCCAD ALCCA
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

ALCCAD, ALCCA = sys.argv[1], sys.argv[2]
PATIENCE = 240  # seconds; sanitizers and paused machines


class Daemon:
    def __init__(self, listen="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [ALCCAD, "--listen", listen, "--metrics-listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        self.grpc = re.search(r"grpc=(\S+)", line)[1]

    def generating(self):
        """A completion of 600 tokens, as it runs."""
        return subprocess.Popen(
            [ALCCA, "generate", "--target", self.grpc, "--max-tokens=600", "--ignore-eos"]
            + ["--mode=alcca", "Once upon a time"],
            stdout=subprocess.DEVNULL,
        )

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        self.process.stdout.close()


class Screen:
    """A terminal as far as `alcca top` uses one; anything else is an error."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [""] * rows
        self.x = self.y = 0
        self.alternate = self.hidden = False
        self.styles = 0
        self.pending = ""

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                sequence = re.compile(r"\x1b\[\??[0-9;]*[a-zA-Z]").match(text, at)
                if sequence is None:
                    if len(text) - at > 12:
                        raise AssertionError(f"unknown escape {text[at:at + 12]!r}")
                    self.pending = text[at:]
                    return
                self.escape(sequence[0])
                at = sequence.end()
                continue
            if text[at] == "\n":
                self.y += 1
            elif text[at] == "\r":
                self.x = 0
            else:
                self.put(text[at])
            at += 1

    def put(self, letter):
        if self.x >= self.columns or self.y >= self.rows:
            raise AssertionError(f"{letter!r} drawn at {self.x}, {self.y}, outside the window")
        line = self.lines[self.y].ljust(self.x)
        self.lines[self.y] = line[: self.x] + letter + line[self.x + 1 :]
        self.x += 1

    def escape(self, sequence):
        if sequence == "\x1b[H":
            self.x = self.y = 0
        elif sequence == "\x1b[K":
            self.lines[self.y] = self.lines[self.y][: self.x]
        elif sequence == "\x1b[J":
            self.lines[self.y] = self.lines[self.y][: self.x]
            for y in range(self.y + 1, self.rows):
                self.lines[y] = ""
        elif sequence in ("\x1b[?1049h", "\x1b[?1049l"):
            self.alternate = sequence.endswith("h")
        elif sequence in ("\x1b[?25l", "\x1b[?25h"):
            self.hidden = sequence.endswith("l")
        elif sequence.endswith("m"):
            self.styles += 0 if sequence == "\x1b[0m" else 1
        else:
            raise AssertionError(f"unknown escape {sequence!r}")

    def text(self):
        return "\n".join(self.lines)


class Top:
    """`alcca top` as the leader of a session whose terminal we hold the other end of."""

    def __init__(self, *args, columns=80, rows=30, env=()):
        self.screen = Screen(columns, rows)
        self.seen = ""  # all that was ever written
        environment = dict(os.environ, TERM="xterm-256color", LC_ALL="C.UTF-8", **dict(env))
        environment.pop("NO_COLOR", None) if "NO_COLOR" not in dict(env) else None
        self.fd, theirs = os.openpty()
        self.set_size(self.fd, columns, rows)
        self.before = termios.tcgetattr(self.fd)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.fd)
            os.login_tty(theirs)
            os.execve(ALCCA, [ALCCA, "top", *args], environment)
        os.close(theirs)
        self.undecoded = b""

    @staticmethod
    def set_size(fd, columns, rows):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other end is closed
            return False
        data = self.undecoded + data
        text = data.decode("utf-8", "ignore")
        # A character that is cut waits for its end.
        self.undecoded = data[len(text.encode()) :]
        self.seen += text
        self.screen.feed(text)
        return bool(data)

    def plain(self):
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.seen)

    def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end or not self.read(0.5) and not condition():
                raise AssertionError(f"never {what}; the screen:\n{self.screen.text()}")

    def shows(self, text):
        self.until(f"showed {text!r}", lambda: text in self.screen.text())

    def resize(self, columns, rows):
        while select.select([self.fd], [], [], 0)[0] and self.read(0):
            pass
        # Frames of the old size may be on their way: only what is drawn for the new one is judged,
        # from the first frame after the signal that fits.
        self.screen = Screen(max(columns, self.screen.columns), max(rows, self.screen.rows))
        self.set_size(self.fd, columns, rows)
        fits = lambda: all(len(line) <= columns for line in self.screen.lines) and not any(
            self.screen.lines[rows:]
        )
        self.until("fitted", lambda: "alcca top" in self.screen.text() and fits())

    def keys(self, text):
        os.write(self.fd, text.encode())

    def wait(self, flags=0):
        """Reads on, so that it never blocks on a full terminal, until its state changes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG | flags)
            if pid:
                while select.select([self.fd], [], [], 0.05)[0] and self.read(0):
                    pass
                return status
            self.read(0.05)
        raise AssertionError("it did not end")

    def close(self):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class TopScreen(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def top(self, *args, **options):
        top = Top("--interval", "0.2", *args, **options)
        self.addCleanup(top.close)
        return top

    def assert_given_back(self, top):
        self.assertFalse(top.screen.alternate)
        self.assertFalse(top.screen.hidden)
        self.assertEqual(termios.tcgetattr(top.fd), top.before)

    def run_to_the_end(self, end):
        """Starts, waits for a frame, ends it by `end(top)`: the terminal is as it was."""
        top = self.top("--target", self.daemon.grpc)
        top.shows("serving")
        self.assertTrue(top.screen.alternate and top.screen.hidden)
        self.assertNotEqual(termios.tcgetattr(top.fd), top.before)
        end(top)
        status = top.wait()
        self.assertTrue(os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status)
        self.assert_given_back(top)

    def test_q_quits(self):
        self.run_to_the_end(lambda top: top.keys("q"))

    def test_ctrl_c_quits(self):
        self.run_to_the_end(lambda top: top.keys("\x03"))

    def test_sigterm_quits(self):
        self.run_to_the_end(lambda top: os.kill(top.pid, signal.SIGTERM))

    def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(self):
        top = self.top("--target", self.daemon.grpc)
        top.shows("serving")
        top.keys("\x1a")
        self.assertTrue(os.WIFSTOPPED(top.wait(os.WUNTRACED)))
        self.assert_given_back(top)
        os.kill(top.pid, signal.SIGCONT)
        top.until("took the screen again", lambda: top.screen.alternate)
        top.shows("serving")
        top.keys("q")
        top.wait()
        self.assert_given_back(top)

    def test_load_shows_in_every_window(self):
        top = self.top("--target", self.daemon.grpc)
        top.shows("0 running of 32")
        # Rates are of an interval: each of these is caught as it passes.
        wanted = [
            r"generation +[1-9][0-9,.]* tokens/s",
            r"first token +[0-9.]+ m?s",
            r"alcca +(-|[0-9.]+ %) +[0-9.]+ %",
            r"\[█",
        ]
        deadline = time.monotonic() + PATIENCE
        while missing := [x for x in wanted if not re.search(x, top.plain())]:
            self.assertLess(time.monotonic(), deadline, f"{missing}\n{top.screen.text()}")
            with self.daemon.generating() as load:
                while load.poll() is None:
                    top.read(0.05)
        self.assertGreater(top.screen.styles, 0)
        for columns, rows in ((40, 30), (120, 10), (12, 3), (100, 40)):
            top.resize(columns, rows)
        top.shows("KV cache")

    def test_no_color_means_none(self):
        top = self.top("--target", self.daemon.grpc, env={"NO_COLOR": "1"})
        top.shows("serving")
        self.assertEqual(top.screen.styles, 0)

    def test_a_daemon_goes_away_and_comes_back(self):
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        self.assertEqual(daemon.generating().wait(PATIENCE), 0)
        top = self.top("--target", self.daemon.grpc, daemon.grpc)
        top.shows("2 of 2 serving")
        self.assertIn("> " + self.daemon.grpc, top.screen.text())
        top.keys("\x1b[B")
        top.shows("> " + daemon.grpc)
        top.shows("KV cache")
        daemon.stop()
        top.shows("1 of 2 serving")
        top.shows("connect")  # why it is down
        self.assertNotIn("KV cache", top.screen.text())
        back = Daemon(daemon.grpc)  # on its old gRPC port, with another metrics port
        self.addCleanup(back.stop)
        top.shows("2 of 2 serving")
        top.shows("KV cache")
        top.until("said that counters fell", lambda: "restarted" in top.seen)
        top.keys("q")
        top.wait()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
