"""The results of bench/gpu/run as JSON and Markdown."""

import json
import pathlib
import re
import subprocess

TITLES = {
    "roof": "What the card can do", "decode": "Decode", "prefill": "Prefill",
    "attention": "Decode attention of one layer (32 heads over 8 KV heads of 128), one sequence",
    "sampling": "Sampling, logits to tokens on the host",
    "faiss": "Exact search through FAISS, one KV head", "serving": "End to end through gRPC",
    "peers": "Peers on the same card", "checks": "Checks"}


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True,
                          cwd=pathlib.Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def serving_rows(figures, width):
    """Of `alcca bench --json`: the rows of one concurrency."""
    if figures["requests failed"] or not figures["requests finished"]:
        raise ValueError(f"{figures['requests failed']:.0f} requests failed at concurrency {width}")
    name = f"{width} at once"
    return [
        {"name": f"{name}, output", "value": figures["output token throughput"], "unit": "tokens/s"},
        {"name": f"{name}, time per output token", "value": figures["TPOT_ms"]["p50"], "unit": "ms"},
        {"name": f"{name}, time to first token", "value": figures["TTFT_ms"]["p50"], "unit": "ms"},
    ]


def number(value):
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def remarks(row):
    parts = []
    share = row.get("share")
    if share is not None and share == share:  # a ceiling that was not measured leaves NaN
        parts.append(f"{100 * share:.1f} % of the {row['of']}")
    if "tokens_per_second" in row:
        parts.append(f"{number(row['tokens_per_second'])} tokens/s after {row['context']} tokens")
    if "against" in row:
        parts.append(f"{row['against']:.2f} x as fast as {row['against_name']}")
    if row.get("note"):
        parts.append(row["note"])
    return "; ".join(parts)


def markdown(run, stages):
    machine, rows = run.machine, run.rows
    lines = [f"# {machine.get('gpu', 'GPU')}, {run.started:%Y-%m-%d %H:%M}", ""]
    if run.dry:
        lines += ["A dry run on the emulated device: it shows that the script works. No figure here "
                  "is a measurement.", ""]
    lines += [f"Commit {commit()}; " + ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in machine.items() if value), ""]
    for note in run.notes:
        lines += [note, ""]
    for group, title in TITLES.items():
        chosen = [row for row in rows if row["group"] == group]
        if not chosen:
            continue
        lines += [f"## {title}", "", "| | | | |", "| --- | ---: | --- | --- |"]
        lines += [f"| {row['name']} | {number(row['value'])} | {row['unit']} | {remarks(row)} |"
                  for row in chosen]
        lines.append("")
    lines += ["## Stages", "", "| stage | status | seconds | |", "| --- | --- | ---: | --- |"]
    for stage in stages:
        why = re.sub(r"[\n|]", " ", stage["why"] or "")[:400]
        lines.append(f"| {stage['name']} | {stage['status']} | {stage['seconds']} | {why} |")
    return "\n".join(lines) + "\n"


def write(folder, run, stages):
    """Both files; returns their path without the ending. The start's time is in it: a later run of the
    day, which may be of one stage, must not replace a full table."""
    gpu = re.sub(r"[^a-z0-9]+", "-", run.machine.get("gpu", "gpu").lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{run.started:%Y-%m-%d-%H%M%S}-{gpu}"
    # JSON has no NaN.
    clean = [{k: (None if v != v else v) for k, v in row.items()} for row in run.rows]
    pathlib.Path(f"{stem}.json").write_text(json.dumps(
        {"schema": "alcca.gpu", "date": f"{run.started:%Y-%m-%d}", "started": f"{run.started:%H:%M:%S}",
         "dry_run": run.dry, "commit": commit(), "machine": run.machine, "notes": run.notes,
         "stages": stages, "rows": clean}, indent=1) + "\n")
    pathlib.Path(f"{stem}.md").write_text(markdown(run, stages))
    return stem
