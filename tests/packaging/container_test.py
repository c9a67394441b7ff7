"""The container's root: laid out from this build, or unpacked from an image, then run for real.

usage: container_test.py SOURCE_DIR ALCCAD          the root that the Dockerfile would lay out
       container_test.py SOURCE_DIR ALCCAD IMAGE    the image in an OCI archive

ALCCAD's folder has the client that talks to the daemon from outside.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import image_root

SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve().parent
IMAGE = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
DOCKERFILE = (SOURCE / "Dockerfile").read_text()
FREE_PORTS = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]


def instruction(name):
    """The last one of that name, without its continuation marks."""
    found = re.findall(rf"^{name} ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)
    return re.sub(r"\\\n\s*", "", found[-1])


def alcca(*words, patience=image_root.PATIENCE):
    return subprocess.run([BIN / "alcca", *words], capture_output=True, text=True, timeout=patience)


class Dockerfile(unittest.TestCase):
    def test_base_images_have_no_host(self):
        for image in re.findall(r"^ARG \w+_IMAGE=(\S+)", DOCKERFILE, re.MULTILINE):
            self.assertNotRegex(image.split("/")[0] if "/" in image else "", r"[.:]")
            self.assertIn(":", image, "no tag")

    def test_the_default_target_is_cpu(self):
        self.assertEqual(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)[-1], "cpu")

    def test_user_ports_and_stop_signal(self):
        self.assertEqual(instruction("USER"), "65532:65532")
        self.assertEqual(instruction("EXPOSE"), "50051 9090")
        self.assertEqual(instruction("STOPSIGNAL"), "SIGTERM")

    def test_runtime_stages_run_nothing(self):
        runtime = DOCKERFILE[DOCKERFILE.index("FROM scratch AS runtime"):]
        self.assertNotRegex(runtime, r"(?m)^(RUN|ADD|SHELL)")
        for command in (instruction("ENTRYPOINT"), instruction("HEALTHCHECK").partition("CMD ")[2]):
            self.assertTrue(json.loads(command)[0].startswith("/usr/bin/"), "needs a shell")

    def test_copied_files_are_there(self):
        ignored = (SOURCE / ".dockerignore").read_text().split()
        for sources in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
            for source in sources.split():
                self.assertTrue((SOURCE / source).exists(), source)
                self.assertNotIn(source.split("/")[0], ignored)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Root(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)
        cls.root = cls.folder / "root"
        if IMAGE:
            cls.root.mkdir()
            cls.config = image_root.config_of(IMAGE, cls.root)
        else:
            cls.config = {"Entrypoint": json.loads(instruction("ENTRYPOINT")),
                          "User": instruction("USER")}
            cls.assemble(cls.root)
        cls.entrypoint, cls.user = cls.config["Entrypoint"], cls.config["User"].split(":")[0]
        documents = cls.root / "usr/share/doc/alcca-server"
        cls.sbom = json.loads((documents / "sbom.spdx.json").read_text())

    @staticmethod
    def assemble(out):
        done = subprocess.run([SOURCE / "deploy/container/assemble_root.py", BIN.parent, out],
                              capture_output=True, text=True,
                              env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *flags):
        daemon = image_root.Daemon(self.root, self.user, [*self.entrypoint, *flags])
        self.addCleanup(daemon.close)
        return daemon

    def test_serves_drains_and_writes_nothing(self):
        daemon = self.start(*FREE_PORTS)
        target = f"127.0.0.1:{daemon.port}"
        self.assertEqual(daemon.in_status("Uid"), ["65532"] * 4)
        self.assertEqual(daemon.in_status("CapEff"), ["0" * 16])
        self.assertEqual(alcca("health", "--target", target).returncode, 0)
        reply = alcca("generate", "--target", target, "--json", "--seed", "7", "--max-tokens", "24",
                      "Once upon a time")
        self.assertEqual((reply.returncode, reply.stderr), (0, ""))
        messages = [json.loads(line) for line in reply.stdout.splitlines()]
        self.assertGreater(len(messages), 3, "not streamed")
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics_port}/metrics") as metrics:
            self.assertIn("alcca_generation_tokens_total", metrics.read().decode())
        self.assertEqual(daemon.files_open_for_writing(), [])
        # The client and the health check run inside, too.
        inside = subprocess.run(
            ["chroot", "--userspec=65532:65532", self.root, "/usr/bin/alcca", "health", "--target",
             target, "--timeout", "30"], capture_output=True, text=True, env=image_root.PATH)
        self.assertEqual((inside.returncode, inside.stderr), (0, ""))
        self.assertEqual(daemon.stop(), 0)

    def test_sigterm_lets_a_stream_finish(self):
        daemon = self.start(*FREE_PORTS)
        stream = subprocess.Popen(
            [BIN / "alcca", "generate", "--target", f"127.0.0.1:{daemon.port}", "--json",
             "--ignore-eos", "--max-tokens", "600", "--seed", "7", "Once upon a time"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertTrue(stream.stdout.readline())  # it streams
        self.assertEqual(daemon.stop(), 0)
        out, error = stream.communicate(timeout=image_root.PATIENCE)
        self.assertEqual((stream.returncode, error), (0, ""))
        self.assertGreater(len(out.splitlines()), 300)

    def test_listens_beyond_loopback_by_default(self):
        printed = subprocess.run(
            ["chroot", self.root, *self.entrypoint, "--print-config"], check=True,
            capture_output=True, text=True, env=image_root.PATH).stdout
        self.assertIn('\nlisten: "0.0.0.0:50051"\n', printed)
        self.assertIn('\nmetrics_listen: "0.0.0.0:9090"\n', printed)

    def test_no_shell_no_package_manager(self):
        programs = sorted(path.name for path in (self.root / "usr/bin").iterdir())
        self.assertEqual(programs, ["alcca", "alccad"])
        found = [path for path in self.root.rglob("*") if path.name in ("sh", "bash", "apt", "dpkg")
                 and path.is_file() and os.access(path, os.X_OK)]
        self.assertEqual(found, [])

    def test_nobody_may_write_and_nothing_is_setuid(self):
        for path in self.root.rglob("*"):
            mode = path.lstat().st_mode
            if path.is_symlink() or path == self.root / "tmp":
                continue
            self.assertFalse(mode & 0o6022, path)
            self.assertTrue(mode & 0o004, f"{path} cannot be read by the image's user")

    def test_libraries_are_complete_and_all_needed(self):
        needed = set()
        for program in ("/usr/bin/alccad", "/usr/bin/alcca"):
            self.assertEqual(image_root.library_gaps(self.root, program), [])
            needed |= image_root.libraries(self.root, program)
        shipped = {path.name for path in (self.root / "usr").rglob("*.so*")}
        self.assertEqual(shipped, needed)

    def test_bill_of_materials(self):
        packages = {package["name"]: package for package in self.sbom["packages"]}
        ids = {p["SPDXID"] for p in self.sbom["packages"]}
        ids |= {f["SPDXID"] for f in self.sbom["files"]} | {"SPDXRef-DOCUMENT"}
        self.assertEqual(self.sbom["spdxVersion"], "SPDX-2.3")
        for name in ("alcca-server", "afia-5m", "libc6", "libgrpc++1.51", "libfaiss-dev",
                     "nlohmann-json3-dev"):
            self.assertTrue(packages[name]["versionInfo"], name)
        relations = {(r["relationshipType"], r["relatedSpdxElement"])
                     for r in self.sbom["relationships"]}
        self.assertIn(("STATIC_LINK", "SPDXRef-Package-libfaiss-dev"), relations)
        self.assertIn(("DYNAMIC_LINK", "SPDXRef-Package-libc6"), relations)
        for relation in self.sbom["relationships"]:
            self.assertIn(relation["spdxElementId"], ids)
            self.assertIn(relation["relatedSpdxElement"], ids)
        self.assertEqual(len(ids), 1 + len(self.sbom["packages"]) + len(self.sbom["files"]))

    def test_each_package_comes_with_its_licence_and_status(self):
        for package in self.sbom["packages"]:
            if package["name"] == "afia-5m":
                model = self.root / "usr/share/alcca/models/afia-5m"
                self.assertTrue((model / "ATTRIBUTION.md").exists())
            elif "externalRefs" in package or package["name"] == "alcca-server":
                text = self.root / "usr/share/doc" / package["name"] / "copyright"
                self.assertGreater(text.stat().st_size, 100, text)
        linked = {r["relatedSpdxElement"] for r in self.sbom["relationships"]
                  if r["relationshipType"] == "DYNAMIC_LINK"}
        names = {p["name"] for p in self.sbom["packages"]
                 if p["SPDXID"] in linked and "externalRefs" in p}
        status = {path.name for path in (self.root / "var/lib/dpkg/status.d").iterdir()}
        self.assertEqual(names, status)

    @unittest.skipIf(IMAGE, "the image is built once")
    def test_the_same_build_gives_the_same_root(self):
        again = self.folder / "again"
        self.assemble(again)
        done = subprocess.run(["diff", "-r", "--no-dereference", self.root, again],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual((again / "usr/bin/alccad").stat().st_mtime, 1700000000)

    @unittest.skipUnless(IMAGE, "of images")
    def test_what_the_image_says_of_itself(self):
        self.assertEqual(self.config["User"], instruction("USER"))
        self.assertEqual(self.config["StopSignal"], "SIGTERM")
        self.assertEqual(set(self.config["ExposedPorts"]), {"50051/tcp", "9090/tcp"})
        self.assertFalse(self.config.get("Cmd"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
