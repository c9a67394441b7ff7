"""bench/gpu/run where there is no GPU: gpu_run_test.py BIN.

Its stages fail, run out of time and are skipped without harm to each other; a bundle is unpacked,
compute-sanitizer's words are understood (a stand-in says them); and --dry-run takes every stage through
the programs of BIN, on the emulated device, to a table.
"""

import argparse
import datetime
import fnmatch
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def load(path):
    loader = importlib.machinery.SourceFileLoader("gpu_run", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_run", loader))
    loader.exec_module(module)
    return module


def make_run(gpu, folder, **args):
    return gpu.Run(argparse.Namespace(**{"dry_run": True, "minutes": 1, "bin": None, "bundle": None,
                                         "work": str(folder), "only": None, "dtypes": None,
                                         "sanitizer_filter": None} | args))


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def expect_stages_stand_alone(folder):
    gpu = load(ROOT / "bench/gpu/run")
    run = make_run(gpu, folder)
    run.machine = {"gpu": "Some GPU | 80GB"}

    def rows_then(outcome):
        def stage(run):
            run.row("decode", f"before {outcome.__name__}", 1.0, "ms a step")
            return outcome(run)
        return stage

    def fails(run):
        run.call(["sh", "-c", "echo first; echo 'the reason' >&2; exit 3"])

    def breaks(run):
        return {}["missing"]

    def skips(run):
        run.tool("model_bench")

    def hangs(run):
        run.call(["sh", "-c", "sleep 600 & wait"])  # its child must go too

    started = time.monotonic()
    results = [gpu.run_stage(run, stage.__name__, 2, rows_then(stage))
               for stage in (fails, breaks, skips, hangs)]
    assert time.monotonic() - started < 60
    assert [r["status"] for r in results] == ["failed", "failed", "skipped", "timed out"], results
    assert "exited with 3" in results[0]["why"] and "the reason" in results[0]["why"], results[0]
    assert "KeyError" in results[1]["why"], results[1]
    run.deadline = time.monotonic()
    results.append(gpu.run_stage(run, "late", 2, fails))
    assert results[-1]["why"] == "no time was left", results[-1]
    assert len(run.rows) == 4, run.rows

    run.row("prefill", "no ceiling", 5.0, "tokens/s", share=float("nan"), of="peak")
    run.dry, run.started = False, datetime.datetime(2026, 2, 3, 4, 5, 6)
    stem = gpu.report.write(folder, run, results)
    assert stem.name == "2026-02-03-040506-some-gpu-80gb", stem
    run.started += datetime.timedelta(minutes=1)
    assert gpu.report.write(folder, run, results[:1]) != stem, "a later run of the day replaces the first"
    assert json.loads(pathlib.Path(f"{stem}.json").read_text())["rows"][-1]["share"] is None
    table = pathlib.Path(f"{stem}.md").read_text()
    assert "| hangs | timed out |" in table and "nan" not in table.lower(), table


def expect_bundle(folder):
    """Unpacked with a filter where tarfile knows one, and by Debian 12's Python, which does not."""
    program(folder / "bundle/bin/model_bench", "#!/bin/sh\n")
    with tarfile.open(folder / "bundle.tar.xz", "w:xz") as archive:
        archive.add(folder / "bundle", "bundle")
    for known in (True, False):
        gpu = load(ROOT / "bench/gpu/run")
        run = make_run(gpu, folder, dry_run=False, bundle=folder / "bundle.tar.xz")
        run.env["LD_LIBRARY_PATH"] = "/first"
        data_filter, extractall = getattr(tarfile, "data_filter", None), tarfile.TarFile.extractall
        given = []

        def unpack(self, path, **more):
            given.append(more)
            if not known and more:
                raise TypeError("extractall() got an unexpected keyword argument 'filter'")
            return extractall(self, path)

        try:
            tarfile.TarFile.extractall = unpack
            if known:
                tarfile.data_filter = data_filter or object()
            elif data_filter:
                del tarfile.data_filter
            result = gpu.run_stage(run, "build", 30, gpu.stage_build)
        finally:
            tarfile.TarFile.extractall = extractall
            if data_filter:
                tarfile.data_filter = data_filter
            elif hasattr(tarfile, "data_filter"):
                del tarfile.data_filter
        assert result["status"] == "ok", (known, result)
        assert given == [{"filter": "data"} if known else {}], given
        assert run.tool("model_bench") == str(run.work / "bundle/bin/model_bench")
        assert run.env["LD_LIBRARY_PATH"] == f"/first:{run.work}/bundle/lib"


def expect_limits(folder):
    """A command at its limit is asked first, killed if it does not listen; a part's limit ends with it."""
    gpu = load(ROOT / "bench/gpu/run")
    gpu.GRACE = 1
    run = make_run(gpu, folder)
    policy = folder / "policy"
    script = program(folder / "setup.sh", f"""#!/usr/bin/env bash
touch {policy}
trap 'rm -f {policy}' EXIT
echo before
sleep 600
""")
    deaf = f"trap '' TERM; touch {policy}; echo before; sleep 600"
    for command, left in (([script], False), (["sh", "-c", deaf], True)):
        started = time.monotonic()
        try:
            with run.within(1):
                run.call(command)
            raise AssertionError("no limit")
        except subprocess.TimeoutExpired as e:
            assert e.output == "before\n", e.output
        assert time.monotonic() - started < 20 and policy.exists() == left, command

    # The build after tools/setup.sh has the stage's time, not what apt left of its own.
    limits, asked = [], []
    run = make_run(gpu, folder, bundle=None)
    run.machine = {"compute_capability": "9.0"}
    gpu.ROOT = folder  # where there is no bundle
    gpu.os.geteuid, geteuid = lambda: 0, gpu.os.geteuid
    gpu.shutil.which, which = lambda name, **_: f"/usr/bin/{name}", gpu.shutil.which
    gpu.packages_missing = lambda: [] if asked else asked.append(1) or ["cmake"]
    run.call = lambda command, **_: limits.append(run.left())
    try:
        run.deadline, run.stage_deadline = (time.monotonic() + t for t in (600, 500))
        gpu.stage_build(run)
    finally:
        gpu.os.geteuid, gpu.shutil.which = geteuid, which
    assert len(limits) == 3 and limits[0] <= 90 and min(limits[1:]) > 400, limits


# Stands in for compute-sanitizer and the tests under it; what is said depends on the tool and the filter.
SANITIZER = """#!{python}
import sys, time
tool, tests = sys.argv[2], sys.argv[-1].split("=", 1)[1]
case, attention = open("{case}").read(), "-" not in tests
say = lambda text: print(text, flush=True)
with open("{case}.asked", "a") as asked:
    asked.write(tool + " " + tests + chr(10))
passed, failed, skipped, found = 7, 0, 0, 0
if case == "nothing matches":
    passed = 0
elif case == "all skipped":
    passed, skipped = 0, 7
elif case == "a test fails" and tool == "racecheck" and attention:
    passed, failed = 6, 1
elif case == "a finding" and tool == "memcheck" and attention:
    found = 3
elif case == "no summary":
    say("[  PASSED  ] 7 tests.")
    sys.exit(0)
elif case == "crash" and tool == "memcheck":
    sys.exit(139)
elif case.startswith("slow") and tool == "memcheck" and attention:
    say("[       OK ] Backends/AttentionConformance.One/cuda_exact (3 ms)")
    say("[       OK ] Backends/AttentionConformance.Two/cuda_exact (3 ms)")
    if case == "slow, a finding":
        say("========= Invalid __global__ read of size 4 bytes")
        say("=========     at kernel+0x10")
    if case == "slow, a failure":
        say("[  FAILED  ] Backends/AttentionConformance.Three/cuda_exact (3 ms)")
    time.sleep(600)
say("[==========] 7 tests from 1 test suite ran.")
say("[  PASSED  ] %d tests." % passed)
if skipped:
    say("[  SKIPPED ] %d tests, listed below:" % skipped)
if failed:
    say("[  FAILED  ] %d test, listed below:" % failed)
say("========= %s SUMMARY: %d %s" % (("RACECHECK", found, "hazards displayed") if tool == "racecheck"
                                     else ("ERROR", found, "errors")))
sys.exit(99 if found else 1 if failed else 0)
"""


def expect_sanitizer(folder):
    gpu = load(ROOT / "bench/gpu/run")
    gpu.GRACE = 1
    case = folder / "case"
    program(folder / "path/compute-sanitizer",
            SANITIZER.replace("{python}", sys.executable).replace("{case}", str(case)))
    program(folder / "bin/conformance_tests", "#!/bin/sh\n")

    def run_case(name, limit=60):
        case.write_text(name)
        pathlib.Path(f"{case}.asked").unlink(missing_ok=True)
        run = make_run(gpu, folder, bin=str(folder / "bin"), dry_run=False, minutes=5)
        run.env["PATH"] = f"{folder}/path:{run.env['PATH']}"
        result = gpu.run_stage(run, "sanitizer", limit, gpu.stage_sanitizer)
        asked = [line.split(" ", 1) for line in pathlib.Path(f"{case}.asked").read_text().splitlines()]
        return result["status"], result["why"], {r["name"]: r for r in run.rows}, asked

    status, why, rows, asked = run_case("clean")
    assert (status, why, len(rows)) == ("ok", "clean", 6), (status, why, rows)
    assert all(r["value"] == 0 and r["note"] == "7 tests passed" for r in rows.values()), rows
    assert [tool for tool, _ in asked] == 2 * ["memcheck", "racecheck", "synccheck"], asked
    for name, words in (("nothing matches", "0 passed"), ("all skipped", "0 passed"),
                        ("a test fails", "racecheck, attention: 0 findings, 1 tests failed"),
                        ("a finding", "memcheck, attention: 3 findings"), ("no summary", "no summary"),
                        ("crash", "exited with 139")):
        status, why, rows, asked = run_case(name)
        assert status == "failed" and words in why and len(asked) == 6, (name, status, why)
    status, why, rows, asked = run_case("slow", limit=8)
    assert status == "timed out" and "memcheck, attention: cut off after 2 tests" in why, (status, why)
    assert len(asked) == 6 and rows["compute-sanitizer memcheck, attention"]["note"] == "cut off after 2 tests"
    assert rows["compute-sanitizer racecheck, attention"]["note"] == "7 tests passed", rows
    for name, words in (("slow, a finding", "1 findings, 0 tests failed"),
                        ("slow, a failure", "0 findings, 1 tests failed")):
        status, why, _, _ = run_case(name, limit=8)
        assert status == "failed" and words in why and "cut off" in why, (name, status, why)
    return [tests for _, tests in asked]


def matching(names, gtest_filter):
    positive, _, negative = gtest_filter.partition("-")

    def any_of(patterns, name):
        return any(fnmatch.fnmatchcase(name, p) for p in patterns.split(":") if p)
    return {name for name in names if any_of(positive, name) and not any_of(negative, name)}


def expect_filters(binaries, filters):
    """Attention's suites come first, and both parts together are every test of the device."""
    names, suite = set(), ""
    for line in subprocess.run([f"{binaries}/conformance_tests", "--gtest_list_tests"], check=True,
                               capture_output=True, text=True).stdout.splitlines():
        line = line.split("#")[0].rstrip()
        if line.startswith(" "):
            names.add(suite + line.strip())
        else:
            suite = line
    first, second = matching(names, filters[0]), matching(names, filters[-1])
    suites = {name.split("/")[1].split(".")[0] for name in first}
    assert suites >= {"AttentionBf16", "AttentionConformance", "AlccaAttention", "MultipoleConformance"}, suites
    assert second and not first & second, first & second
    on_device = {n for n in names if n.rsplit("/", 1)[-1] in ("cuda", "cuda_exact", "cuda_faiss")}
    assert first | second == on_device, on_device ^ (first | second)


def expect_dtypes(folder):
    gpu = load(ROOT / "bench/gpu/run")
    for capability, asked, dtypes in (("8.0", None, ["bf16", "int8"]), ("9.0", None, ["bf16", "int8", "fp8"]),
                                      ("8.0", "fp8", ["fp8"])):
        run = make_run(gpu, folder, dtypes=asked)
        run.machine = {"gpu": "a card", "compute_capability": capability}
        gpu.choose_dtypes(run)
        assert run.dtypes == dtypes, (capability, run.dtypes)
        table = pathlib.Path(f"{gpu.report.write(folder, run, [])}.md").read_text()
        left_out = "fp8 weights, which need compute capability 9.0; this card has 8.0" in table
        assert left_out == ("fp8" not in dtypes), table


def expect_dry_run(binaries, folder):
    done = subprocess.run([ROOT / "bench/gpu/run", "--dry-run", "--bin", binaries, "--out", folder,
                           "--work", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = folder.glob("*-emulated.json")
    results = json.loads(results.read_text())
    status = {stage["name"]: stage["status"] for stage in results["stages"]}
    # What this machine may lack is skipped by name; everything else has run.
    may_lack = {"sanitizer", "peers: attention and products", "peers: transformers"}
    assert all(s == "ok" or n in may_lack and s == "skipped" for n, s in status.items()), status
    rows = results["rows"]
    count = {g: sum(row["group"] == g for row in rows) for g in {row["group"] for row in rows}}
    assert count["decode"] == 7 and count["prefill"] == 6 and count["faiss"] == 1, count
    assert count["attention"] == 8 and count["serving"] == 3 and count["roof"] == 7, count
    assert count["sampling"] == 6, count
    assert sum(row["name"].startswith("greedy") for row in rows if row["group"] == "checks") == 12, rows
    assert all(row["value"] is not None and row["value"] >= 0 for row in rows), rows
    assert all(row["share"] > 0 for row in rows if row["group"] in ("decode", "prefill")), rows
    (table,) = folder.glob("*-emulated.md")
    assert "No figure here is a measurement" in table.read_text()
    assert sorted(p.name for p in folder.iterdir()) == [f"{table.stem}.json", table.name], (
        "a run leaves nothing but its results")


def main():
    for check in (expect_stages_stand_alone, expect_bundle, expect_limits, expect_dtypes,
                  lambda f: expect_filters(sys.argv[1], expect_sanitizer(f)),
                  lambda f: expect_dry_run(sys.argv[1], f)):
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))


if __name__ == "__main__":
    main()
