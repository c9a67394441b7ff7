"""A real alccad under load of its real client, scraped by a real Prometheus with the shipped configuration
and rules."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

DEADLINE = 120.0  # of anything that should take a second; machines may be slow


class TimedOut(Exception):
    pass


def wait_for(what, condition, seconds=DEADLINE):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise TimedOut(f"{what}: not within {seconds:g} s")


def get(url):
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return answer.read().decode()


class Child:
    """A program whose output goes to a file, from which a line is awaited."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def await_line(self, pattern):
        def look():
            found = re.search(pattern, self.log.read_text(errors="replace"))
            if not found and self.process.poll() is not None:
                raise TimedOut(f"{self.process.args[0]} ended:\n{self.log.read_text(errors='replace')}")
            return found
        return wait_for(f"'{pattern}' from {self.process.args[0]}", look).groups()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


class Stack:
    def __init__(self, root, bin_dir, daemon_flags):
        self.bin = pathlib.Path(bin_dir)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="alcca-stack-"))
        self.prometheus = None
        self.daemon = Child([str(self.bin / "alccad"), "--listen", "127.0.0.1:0", "--metrics-listen",
                             "127.0.0.1:0", *daemon_flags], self.folder / "alccad.log")
        try:
            self.grpc, self.metrics = self.daemon.await_line(r"listening grpc=(\S+) metrics=(\S+)\n")
            config = self._configure(root / "deploy/prometheus")
            self.prometheus = Child(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                 "--web.listen-address=127.0.0.1:0"], self.folder / "prometheus.log")
            self.api, = self.prometheus.await_line(r'"Listening on" address=(\S+)')
            self.prometheus.await_line(r"Server is ready to receive web requests")
            self.begin = time.time()
            wait_for("the first scrape", lambda: self.query("alcca_build_info"))
        except BaseException:
            self.close()
            raise

    def _configure(self, shipped):
        """The shipped file with our intervals and the daemon's address."""
        for path in shipped.glob("*.rules.yml"):
            shutil.copy(path, self.folder)
        text = (shipped / "prometheus.yml").read_text()
        for old, new in (("scrape_interval: 15s", "scrape_interval: 500ms"),
                         ("evaluation_interval: 15s", "evaluation_interval: 1s"),
                         ('"127.0.0.1:9090"', f'"{self.metrics}"')):
            if old not in text:
                raise ValueError(f"prometheus.yml has no '{old}'")
            text = text.replace(old, new)
        path = self.folder / "prometheus.yml"
        path.write_text(text)
        return path

    def close(self):
        """The daemon's exit code, or None if it was not asked."""
        code = self.daemon.stop()
        if self.prometheus is not None:
            self.prometheus.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def _api(self, path, **parameters):
        url = f"http://{self.api}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(get(url))["data"]
        except urllib.error.HTTPError as error:
            message = json.loads(error.read())["error"]
            raise ValueError(f"{parameters.get('query', path)}: {message}") from error

    def query(self, expression):
        return self._api("query", query=expression)["result"]

    def query_range(self, expression):
        return self._api("query_range", query=expression, start=self.begin, end=time.time(),
                         step=1.0)["result"]

    def rules(self):
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def scrape(self):
        """series -> value, and family -> type, as the daemon exports them now."""
        series, types = {}, {}
        for line in get(f"http://{self.metrics}/metrics").splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                types[name] = kind
            elif not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series, types

    def client(self, *arguments):
        """Runs `alcca`; its exit code."""
        done = subprocess.run([str(self.bin / "alcca"), *arguments, "--target", self.grpc],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                              timeout=10 * DEADLINE)
        return done.returncode

    def vanish(self, *arguments):
        """A client that is killed after its first words."""
        process = subprocess.Popen([str(self.bin / "alcca"), *arguments, "--target", self.grpc],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.read(1)
        process.kill()
        process.wait()


TREE = ["--mode", "alcca", "--search", "tree"]
EXACT = ["--mode", "alcca", "--search", "exact", "--near-share", "0.3"]
MULTIPOLE = ["--mode", "multipole", "--dense-below", "64", "--mass", "0.5", "--max-keys", "128"]
DENSE, WINDOW, TOPK = (["--mode", mode] for mode in ("dense", "window", "topk"))
MODES = [TREE, EXACT, MULTIPOLE, DENSE, WINDOW, TOPK]


def bench(stack, mode, requests, concurrency, prompt, output):
    return stack.client("bench", "--requests", str(requests), "--concurrency", str(concurrency),
                        "--prefix-len", "64", "--input-len", str(prompt), "--output-len", str(output), "--warmup", "0", *mode)


def served(stack, mode, requests, concurrency, prompt, output):
    """A burst beside it may have filled the queue, and every request been refused: again, until all
    are served."""
    wait_for(" ".join(mode),
             lambda: bench(stack, mode, requests, concurrency, prompt, output) == 0)


def burst(stack, requests):
    """All at once. More than run and wait: some are refused, and the bench says so by its exit code.
    A fast machine empties a queue between two scrapes: again, until one has met it."""
    deadline = time.time() + DEADLINE
    while True:
        bench(stack, WINDOW, requests, requests, 64, 200)
        waited = stack.query_range("alcca_num_requests_waiting")
        if any(float(value) for series in waited for _, value in series["values"]):
            return
        if time.time() > deadline:
            raise TimeoutError("no scrape has met a waiting request")


def misbehave(stack):
    """Refused, cancelled and late requests."""
    stack.client("generate", "--max-tokens", "1000000", "more than any context holds")
    stack.client("generate", "--timeout", "0.1", "--ignore-eos", "--max-tokens", "900", "late")
    stack.vanish("generate", "--ignore-eos", "--max-tokens", "600", *TREE, 40 * "gone with the wind ")
    stack.client("generate", "Once upon a time", "--seed", "1", "--stop", "a")


def load(stack):
    """Every mode in turn on one thread, disturbances on another."""
    def disturb():
        misbehave(stack)
        burst(stack, requests=24)
    other = threading.Thread(target=disturb)
    other.start()
    for mode in MODES:
        served(stack, mode, requests=4, concurrency=3, prompt=700, output=48)
    other.join()
