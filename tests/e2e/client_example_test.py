"""docs/clients.md: the Python it prints, generated and run as it says, against the real daemon. In a venv
that in_venv.sh makes.

Usage: client_example_test.py ROOT ALCCAD ALCCA
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

ROOT, ALCCAD, ALCCA = pathlib.Path(sys.argv[1]), *sys.argv[2:4]
EXAMPLE, PAGE = ROOT / "docs/examples/client.py", (ROOT / "docs/clients.md").read_text()
PATIENCE = 120  # seconds; paused machines
PROMPT = "Once upon a time"


class Daemon:
    def __init__(self, *flags, model=ROOT / "models/afia-5m"):
        command = [ALCCAD, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--model", model, *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.grpc, self.metrics = re.search(r"grpc=(\S+) metrics=(\S+)", line).groups()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()  # nothing of it is needed, and a drain would wait for long requests
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def metric(self, name):
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=PATIENCE) as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


class ClientExample(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        generate = re.search(r"^build/venv/bin/python (-m grpc_tools\.protoc .*)$", PAGE, re.MULTILINE)[1]
        arguments = generate.replace("build/python", cls.folder.name).split()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
        sys.path[:0] = [cls.folder.name, str(EXAMPLE.parent)]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def client(self, *arguments):
        environment = os.environ | {"PYTHONPATH": self.folder.name}
        return subprocess.run([sys.executable, EXAMPLE, *arguments], env=environment, capture_output=True,
                              text=True, timeout=PATIENCE)

    def test_the_page_prints_the_file(self):
        self.assertEqual(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], EXAMPLE.read_text())

    def test_streams_what_alcca_streams(self):
        with Daemon() as daemon:
            mine = self.client(daemon.grpc, PROMPT)
            self.assertEqual(mine.returncode, 0, mine.stderr)
            report = r"\n--- (?:stop|length), \d+ tokens, [\d.]+% of causal dense's interactions\n"
            texts = re.split(report, mine.stdout)
            self.assertEqual(len(texts), 3, mine.stdout)
            for command, text in zip(("generate", "chat"), texts):
                theirs = subprocess.run(
                    [ALCCA, command, "--target", daemon.grpc, "--temperature=0", "--max-tokens=64", PROMPT],
                    capture_output=True, text=True, check=True, timeout=PATIENCE)
                self.assertGreater(len(text), 40)
                self.assertEqual(text.strip(), theirs.stdout.strip())

    def test_an_error_is_one_line(self):
        with Daemon() as daemon:
            refused = self.client(daemon.grpc, "")
        self.assertEqual(refused.returncode, 1)
        self.assertEqual(refused.stderr, "INVALID_ARGUMENT: text: must not be empty\n")

    def test_tls(self):
        cert, key = self.folder.name + "/cert.pem", self.folder.name + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        with Daemon("--tls-cert", cert, "--tls-key", key) as daemon:
            done = self.client(daemon.grpc, PROMPT, cert)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("tokens", done.stdout)

    def test_a_full_queue_is_retried_after_the_servers_delay(self):
        import client
        from alcca.v1 import inference_pb2 as pb
        from alcca.v1 import inference_pb2_grpc as rpc

        # Room for requests that last until they are cancelled.
        model = pathlib.Path(self.folder.name) / "long"
        shutil.copytree(ROOT / "models/afia-5m", model)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32768}))
        endless = pb.GenerateRequest(text=PROMPT, stream=True, sampling_params=pb.SamplingParams(
            max_tokens=30000, ignore_eos=True))
        short = pb.GenerateRequest(text=PROMPT, sampling_params=pb.SamplingParams(max_tokens=4))
        flags = ("--max-num-seqs", "1", "--max-queued-requests", "1")
        with Daemon(*flags, model=model) as daemon, client.connect(daemon.grpc) as channel:
            alcca = rpc.InferenceStub(channel)
            running = alcca.Generate(endless)
            next(running)
            waiting = alcca.Generate(endless)
            wait_until(lambda: alcca.GetLoads(pb.GetLoadsRequest()).loads[0].num_waiting_reqs == 1)

            def make_room():
                wait_until(lambda: daemon.metric('alcca_requests_rejected_total{reason="queue_full"') > 0)
                running.cancel()
                waiting.cancel()

            helper = threading.Thread(target=make_room)
            helper.start()
            begin = time.monotonic()
            replies = list(alcca.Generate(short, timeout=PATIENCE))
            seconds = time.monotonic() - begin
            helper.join()
            self.assertEqual(replies[-1].complete.usage.completion_tokens, 4)
            # The policy alone would have tried again after a quarter of a second.
            self.assertGreaterEqual(seconds, 0.95)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
