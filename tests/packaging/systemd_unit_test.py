"""deploy/systemd/alccad.service: systemd accepts it, its sandbox holds its score, and its times fit
the daemon's defaults.

usage: systemd_unit_test.py SOURCE_DIR ALCCAD
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE, ALCCAD = pathlib.Path(sys.argv[1]), sys.argv[2]
UNIT = SOURCE / "deploy/systemd/alccad.service"
DROP_IN = SOURCE / "deploy/systemd/alccad-cuda.conf"
# systemd-analyze's exposure, 0 (nothing) to 10. What is left: the network, and /proc/meminfo.
EXPOSURE_MAX, EXPOSURE_MAX_CUDA = 1.1, 1.6


def setting(name):
    return re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)[1]


def default(key):
    """Of the daemon, seconds."""
    printed = subprocess.run([ALCCAD, "--print-config"], check=True, capture_output=True, text=True)
    return float(re.search(rf"^{key}: (.*)$", printed.stdout, re.MULTILINE)[1])


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Systemd(unittest.TestCase):
    def in_folder(self, text, drop_in=None):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        (folder / "alccad.service").write_text(text)
        if drop_in:
            (folder / "alccad.service.d").mkdir()
            (folder / "alccad.service.d/cuda.conf").write_text(drop_in)
        return str(folder / "alccad.service")

    def verify(self, text, drop_in=None):
        text = text.replace("/usr/bin/alccad", ALCCAD)  # must exist
        return analyze("verify", "--man=no", "--recursive-errors=no", self.in_folder(text, drop_in))

    def test_verify(self):
        for drop_in in (None, DROP_IN.read_text()):
            done = self.verify(UNIT.read_text(), drop_in)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_verify_sees_faults(self):
        done = self.verify(UNIT.read_text().replace("ProtectHome=yes", "ProtectHomes=yes"))
        self.assertIn("ProtectHomes", done.stderr)

    def exposure(self, text):
        done = analyze("security", "--offline=true", "--no-pager", self.in_folder(text))
        return float(re.search(r"exposure level for \S+: (\S+)", done.stdout)[1])

    def test_exposure(self):
        unit = UNIT.read_text()
        self.assertLessEqual(self.exposure(unit), EXPOSURE_MAX)
        drop_in = re.sub(r"(?s).*\[Service\]", "", DROP_IN.read_text())
        with_card = unit.replace("\n[Install]", drop_in + "\n[Install]")
        self.assertLessEqual(self.exposure(with_card), EXPOSURE_MAX_CUDA)
        privileged = unit.replace("CapabilityBoundingSet=\n", "")
        self.assertGreater(self.exposure(privileged), EXPOSURE_MAX)


class Times(unittest.TestCase):
    def test_the_drain_fits_into_the_stop(self):
        self.assertGreaterEqual(float(setting("TimeoutStopSec")),
                                default("drain_timeout_seconds") + 10)

    def test_health_fails_before_the_watchdog_kills(self):
        self.assertGreaterEqual(float(setting("WatchdogSec")), default("watchdog_seconds") + 10)

    def test_what_it_runs_is_what_is_installed(self):
        rules = (SOURCE / "deploy/debian/package_documents.cmake").read_text()
        self.assertIn("/usr/bin/alccad --config /etc/alcca/alccad.yaml", setting("ExecStart"))
        self.assertIn("etc/alcca/alccad.yaml", rules)
        self.assertIn(f"u {setting('User')} ",
                      (SOURCE / "deploy/systemd/alcca-sysusers.conf").read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
