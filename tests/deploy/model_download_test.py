"""The download script of deploy/kubernetes/components/model-volume, run by a real shell with a real
curl against a real HTTPS server, and what it leaves judged by `alcca verify`.

Usage: model_download_test.py SOURCE ALCCA"""

import hashlib
import http.server
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest

SOURCE, ALCCA = sys.argv[1:3]
CRON_JOB = pathlib.Path(SOURCE) / "deploy/kubernetes/components/model-volume/download-cronjob.yaml"
FILES = {"config.json": b"{}\n", "model.safetensors": bytes(range(256)) * 4000,
         "sub/tokenizer.model": b"pieces"}


def script():
    """The text below "- |", as YAML reads it."""
    block = re.search(r"^ +- \|\n((?:^ {18}.*\n)+)", CRON_JOB.read_text(), re.MULTILINE).group(1)
    return textwrap.dedent(block)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = FILES.get(self.path.removeprefix("/m/"))
        self.server.asked.append((self.path, self.headers.get("Range")))
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-")).group(1))
        if body is None:
            self.send_error(404)
        elif start >= len(body):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:])

    def log_message(self, *_):
        pass


class Download(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.model = pathlib.Path(self.dir.name) / "volume"
        self.model.mkdir()
        self.sums = pathlib.Path(self.dir.name) / "sums"
        self.sums.mkdir()
        self.list = self.sums / "model.sha256"
        self.list.write_text("# a comment\n" + "".join(
            f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in FILES.items()))
        self.cert, key = self.dir.name + "/cert.pem", self.dir.name + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out",
                        self.cert], check=True, capture_output=True)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.asked = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.dir.cleanup()

    def download(self, scheme="https"):
        text = script().replace("/model\n", f"{self.model}\n").replace("/etc/alcca-sums",
                                                                      str(self.sums))
        port = self.server.server_address[1]
        self.server.asked.clear()
        return subprocess.run(["sh", "-ec", text], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "MODEL_URL": f"{scheme}://localhost:{port}/m",
                                   "CURL_CA_BUNDLE": self.cert, "no_proxy": "localhost"})

    def verify(self):
        return subprocess.run([ALCCA, "verify", str(self.model), "--sums", str(self.list)],
                              capture_output=True, text=True, timeout=60)

    def test_fetches_once_and_what_it_fetched_verifies(self):
        self.assertNotEqual(self.verify().returncode, 0)
        result = self.download()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.verify().returncode, 0, self.verify().stderr)
        self.assertEqual(self.download().returncode, 0)
        self.assertEqual(self.server.asked, [], "whole files are not fetched again")

    def test_goes_on_where_it_stopped(self):
        (self.model / "model.safetensors.part").write_bytes(FILES["model.safetensors"][:1000])
        self.assertEqual(self.download().returncode, 0)
        self.assertIn(("/m/model.safetensors", "bytes=1000-"), self.server.asked)
        self.assertEqual(self.verify().returncode, 0)

    def test_replaces_a_damaged_file(self):
        self.assertEqual(self.download().returncode, 0)
        (self.model / "config.json").write_bytes(b"{ }")
        self.assertIn("config.json: sha256 is", self.verify().stderr)
        self.assertEqual(self.download().returncode, 0)
        self.assertEqual([path for path, _ in self.server.asked], ["/m/config.json"])
        self.assertEqual(self.verify().returncode, 0)

    def test_a_whole_part_file_does_not_fail_for_ever(self):
        (self.model / "config.json.part").write_bytes(FILES["config.json"])
        if self.download().returncode != 0:  # 416: nothing to continue
            self.assertEqual(self.download().returncode, 0)
        self.assertEqual(self.verify().returncode, 0)

    def test_a_missing_file_fails_the_job_by_name(self):
        with self.list.open("a") as file:
            file.write("0" * 64 + "  missing.bin\n")
        result = self.download()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("missing.bin: downloading", result.stdout)
        self.assertIn("404", result.stderr)
        self.assertFalse((self.model / "missing.bin").exists())

    def test_plain_http_is_refused(self):
        self.assertNotEqual(self.download("http").returncode, 0)
        self.assertEqual(self.server.asked, [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
