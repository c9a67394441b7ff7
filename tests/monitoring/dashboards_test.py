"""deploy/grafana: the committed JSON is what generate.py writes, and is a dashboard that Grafana imports
whole: the fields it needs, panels that do not overlap, and for each a description, a unit, thresholds and
the data source of the variable. Queries are checked by panels_test.py, on real data."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import rules_test  # noqa: E402

KINDS = {"timeseries", "stat", "heatmap", "table"}
UNITS = {"none", "s", "bytes", "percentunit", "watt", "celsius"}  # of Grafana's; or "suffix: ..."
VARIABLES = {"datasource", "job", "instance"}


def check_panel(panel, known, problems):
    config = panel["fieldConfig"]["defaults"]
    if panel["type"] not in KINDS:
        problems.append(f"type {panel['type']}")
    if len(panel["description"]) < 20 or not panel["description"].endswith("."):
        problems.append("the description says too little")
    if config["unit"] not in UNITS and not config["unit"].startswith("suffix:"):
        problems.append(f"unit {config['unit']}")
    steps = config["thresholds"]["steps"]
    values = [s["value"] for s in steps]
    if values[0] is not None or values[1:] != sorted(values[1:]):
        problems.append("thresholds begin with null and ascend")
    if not panel["targets"] or len({t["refId"] for t in panel["targets"]}) != len(panel["targets"]):
        problems.append("targets with different refIds")
    for part in [panel, *panel["targets"]]:
        if part["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
            problems.append("the data source is not the variable's")
    for target in panel["targets"]:
        expression = target["expr"]
        for name in re.findall(r"\$(?:__)?\w+", expression):
            if name not in ("$job", "$instance", "$__rate_interval"):
                problems.append(f"variable {name}")
        for name in rules_test.METRIC.findall(re.sub(r"\bjob\w*:[a-z0-9_]+(:\w+)?", "", expression)):
            if name not in known and rules_test.SUFFIX.sub("", name) not in known:
                problems.append(f"{name} is not in docs/metrics.md")
        if "rate(" in expression and "[$__rate_interval]" not in expression and "job:" not in expression:
            problems.append("a rate over a fixed window")


def check_layout(panels, problems):
    cells = {}
    for panel in panels:
        grid = panel["gridPos"]
        if grid["x"] + grid["w"] > 24:
            problems.append(f"{panel['title']}: wider than the page")
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                if (x, y) in cells:
                    problems.append(f"{panel['title']} lies over {cells[x, y]}")
                    return
                cells[x, y] = panel["title"]


def check(text, known):
    """What is wrong with one dashboard."""
    problems, dashboard = [], json.loads(text)
    panels = dashboard["panels"]
    if not re.fullmatch(r"[a-z0-9-]{1,40}", dashboard["uid"]) or not dashboard["title"]:
        problems.append("uid and title")
    if dashboard["schemaVersion"] < 36 or "id" in dashboard:
        problems.append("schemaVersion, and no id")
    if {v["name"] for v in dashboard["templating"]["list"]} != VARIABLES:
        problems.append(f"variables other than {VARIABLES}")
    if len({p["id"] for p in panels}) != len(panels):
        problems.append("a panel id is used twice")
    for panel in panels:
        if panel["type"] != "row":
            own = []
            check_panel(panel, known, own)
            problems += [f"{panel['title']}: {what}" for what in own]
    check_layout(panels, problems)
    return problems


def check_test_itself(text, known, problems):
    """Dashboards with a fault each, which must be found."""
    for old, new in ((r'"unit": "s"', '"unit": "furlongs"'), (r'"\$\{datasource\}"', '"prod"'),
                     (r'"w": 8', '"w": 25'), (r"alcca_\w+_total\{", "alcca_nonsense_total{"),
                     (r'"schemaVersion": \d+', '"schemaVersion": 16'), (r"\$instance", "$host")):
        broken, count = re.subn(old, new, text)
        if count == 0 or not check(broken, known):
            problems.append(f"a dashboard with {new} passes")


def main(root: pathlib.Path) -> int:
    folder, problems = root / "deploy/grafana", []
    known = rules_test.documented_metrics((root / "docs/metrics.md").read_text())
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, "-B", str(folder / "generate.py"), out], check=True)
        written = {p.name: p.read_text() for p in sorted(pathlib.Path(out).glob("*.json"))}
    committed = {p.name: p.read_text() for p in sorted((folder / "dashboards").glob("*.json"))}
    if written != committed:
        problems.append("deploy/grafana/dashboards is not what generate.py writes: run `make dashboards`")
    panels = 0
    for name, text in committed.items():
        problems += [f"{name}: {what}" for what in check(text, known)]
        check_test_itself(text, known, problems)
        panels += sum(p["type"] != "row" for p in json.loads(text)["panels"])
    if len(committed) != 3:
        problems.append(f"{len(committed)} dashboards")
    print("\n".join(problems) or f"{len(committed)} dashboards, {panels} panels")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
