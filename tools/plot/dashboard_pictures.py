"""Draws the dashboards of deploy/grafana from a run: a real daemon under changing load, a real Prometheus.

Usage: dashboard_pictures.py OUT_DIR BIN_DIR [SECONDS]   (`make dashboards-pictures`; 240 seconds)"""

import json
import math
import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).parent), str(ROOT / "tests/monitoring")]
import dashboard_svg  # noqa: E402
import panels_test  # noqa: E402
import stack as stacks  # noqa: E402

STEP = 2.0
FLAGS = ["--max-num-seqs", "8", "--max-queued-requests", "24", "--attention-recall-sample", "0.05",
         "--log-level", "warn"]


def legend_of(target, labels):
    name = target.get("legendFormat", "value")
    for key, value in labels.items():
        name = name.replace("{{" + key + "}}", value)
    return name


def answers(stack, panel, times):
    """[(legend, values)] of a panel over the run; of a table, its rows."""
    if panel["type"] == "table":
        return [r["metric"] for t in panel["targets"] for r in stack.query(panels_test.substitute(t["expr"]))]
    out = []
    for target in panel["targets"]:
        for result in stack.query_range(panels_test.substitute(target["expr"]), STEP, times[0], times[-1]):
            at = {round((float(t) - times[0]) / STEP): float(v) for t, v in result["values"]}
            values = [at.get(i) for i in range(len(times))]
            values = [v if v is not None and math.isfinite(v) else None for v in values]
            if any(v is not None for v in values):
                name = legend_of(target, result["metric"]).replace(stack.metrics, "daemon 1")
                out.append((name, values))
    return out


def main(out_dir: pathlib.Path, bin_dir: str, seconds: float = 240) -> int:
    out_dir.mkdir(parents=True, exist_ok=True)
    stack = stacks.Stack(ROOT, bin_dir, FLAGS, scrape="1s", evaluate="2s")
    try:
        end = time.time() + seconds
        work = threading.Thread(target=stacks.load, args=(stack, lambda _: time.time() < end),
                                kwargs={"prompt": 600, "requests": 8, "concurrency": 2, "at_once": 12})
        work.start()
        time.sleep(max(0.0, end - time.time()))
        first = stack.begin + 10  # a rate's window
        times = [first + STEP * i for i in range(int((time.time() - first) / STEP))]
        for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
            dashboard = json.loads(path.read_text())
            results = {p["id"]: answers(stack, p, times) for p in dashboard["panels"] if p["type"] != "row"}
            for rows in results.values():
                for row in rows:
                    if isinstance(row, dict) and "instance" in row:
                        row["instance"] = "daemon 1"
            relative = [t - stack.begin for t in times]
            target = out_dir / f"dashboard-{path.stem}.svg"
            target.write_text(dashboard_svg.draw(dashboard, results, relative, dashboard["description"]))
            print(target)
        work.join()
    finally:
        stack.close()
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]), *sys.argv[2:3], *[float(s) for s in sys.argv[3:]]))
