"""bench/gpu/run where there is no GPU: gpu_run_test.py BIN.

Its stages fail, run out of time and are skipped without harm to each other; and --dry-run takes every
stage through the programs of BIN, on the emulated device, to a table.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def load(path):
    loader = importlib.machinery.SourceFileLoader("gpu_run", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_run", loader))
    loader.exec_module(module)
    return module


def expect_stages_stand_alone(folder):
    gpu = load(ROOT / "bench/gpu/run")
    run = gpu.Run(argparse.Namespace(dry_run=True, minutes=1, bin=None, work=str(folder), only=None))
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
    stem = gpu.report.write(folder, run.machine, results, run.rows, dry=False)
    assert stem.name.endswith("-some-gpu-80gb"), stem
    assert json.loads(pathlib.Path(f"{stem}.json").read_text())["rows"][-1]["share"] is None
    table = pathlib.Path(f"{stem}.md").read_text()
    assert "| hangs | timed out |" in table and "nan" not in table.lower(), table


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
    assert count["sampling"] == 5, count
    assert sum(row["name"].startswith("greedy") for row in rows if row["group"] == "checks") == 12, rows
    assert all(row["value"] is not None and row["value"] >= 0 for row in rows), rows
    assert all(row["share"] > 0 for row in rows if row["group"] in ("decode", "prefill")), rows
    (table,) = folder.glob("*-emulated.md")
    assert "No figure here is a measurement" in table.read_text()
    assert sorted(p.name for p in folder.iterdir()) == [f"{table.stem}.json", table.name], (
        "a run leaves nothing but its results")


def main():
    for check in (expect_stages_stand_alone, lambda f: expect_dry_run(sys.argv[1], f)):
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))


if __name__ == "__main__":
    main()
