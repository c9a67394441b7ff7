"""deploy/prometheus by promtool, and what holds it together: every alert has a case that fires, one that
must not, and a section of docs/alerts.md; every recording rule has its value tested; every metric that
a rule reads is documented; no query asks for a bucket bound that Prometheus 2 alone stores."""

import pathlib
import re
import shutil
import subprocess
import sys

# The files are ours and regular; a YAML parser would be the one dependency of this test.
ALERT = re.compile(r"- alert: (\S+)\n(.*?)(?=\n      - |\n  - |\n\n|\Z)", re.DOTALL)
CASE = re.compile(r"alert_rule_test:\n(.*?)(?=\n  - name: |\Z)", re.DOTALL)
METRIC = re.compile(r"\b(?:alcca|process)_[a-z0-9_]+\b")
SUFFIX = re.compile(r"_(bucket|sum|count)$")
WHOLE_BOUND = re.compile(r'\ble=\\?"\d+\\?"')  # as YAML or as JSON spells it


def documented_metrics(text):
    """Names in the first column of docs/metrics.md's tables."""
    return {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
            for name in re.findall(r"`([^`]+)`", row)}


def check_alerts(prometheus, doc, problems):
    alerts = {}
    for path in sorted(prometheus.glob("*.rules.yml")):
        for name, body in ALERT.findall(path.read_text()):
            alerts[name] = body
    cases = {name: {"fires": 0, "quiet": 0} for name in alerts}
    for path in sorted((prometheus / "tests").glob("*.test.yml")):
        for body in CASE.findall(path.read_text()):
            name = re.search(r"alertname: (\S+)", body).group(1)
            if name not in cases:
                problems.append(f"{path.name} tests {name}, which is no alert")
                continue
            cases[name]["fires" if "exp_labels" in body else "quiet"] += 1
    for name, count in cases.items():
        for kind in ("fires", "quiet"):
            if count[kind] == 0:
                problems.append(f"{name} has no case in which it {kind if kind == 'fires' else 'must not fire'}")
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", doc, re.MULTILINE | re.DOTALL))
    used = set()
    for name, body in alerts.items():
        link = re.search(r"runbook_url: docs/alerts\.md#(\S+)", body)
        severity = re.search(r"severity: (\S+)", body).group(1)
        section = next((s for s in sections if link and s.lower() == link.group(1)), None)
        if section is None:
            problems.append(f"{name}: its runbook_url leads to no section of docs/alerts.md")
        elif f"{name} {severity}" not in sections[section] and not (
                name == section and sections[section].lstrip().startswith(f"*{severity}.*")):
            problems.append(f"docs/alerts.md, {section}: does not say that {name} is a {severity}")
        used.add(section)
    for section in set(sections) - used:
        problems.append(f"docs/alerts.md: no alert leads to {section}")
    return len(alerts)


def check_records(prometheus, problems):
    tests = "".join(p.read_text() for p in sorted((prometheus / "tests").glob("*.test.yml")))
    records = re.findall(r"- record: (\S+)", (prometheus / "recording.rules.yml").read_text())
    for name in records:
        if not re.search(rf"expr: .*{re.escape(name)}", tests):
            problems.append(f"no test says what {name} computes")
    # Those of the objectives are computed for their alerts, which are tested.
    text = (prometheus / "objectives.rules.yml").read_text()
    for name in re.findall(r"- record: (\S+)", text):
        if len(re.findall(rf"{re.escape(name)}\b", text)) < 2:
            problems.append(f"{name} is recorded and no alert reads it")
    return len(records)


def check_metrics(prometheus, known, problems):
    for path in sorted(prometheus.glob("*.rules.yml")):
        for line in path.read_text().splitlines():
            if line.lstrip().startswith(("#", "- record:", "description:", "summary:", "runbook_url:")):
                continue
            for name in METRIC.findall(re.sub(r"\bjob\w*:[a-z0-9_]+(:\w+)?", "", line)):
                if name not in known and SUFFIX.sub("", name) not in known:
                    problems.append(f"{path.name} reads {name}, which docs/metrics.md does not list")


def check_bounds(deploy, problems):
    """Prometheus 2 stores a whole bound as 1, Prometheus 3 as 1.0: le=~"1|1[.]0" matches both."""
    queries = [*deploy.glob("prometheus/*.rules.yml"), *deploy.glob("grafana/dashboards/*.json")]
    for path in sorted(queries):
        problems += [f"{path.name}: Prometheus 3 knows no {bound}"
                     for bound in WHOLE_BOUND.findall(path.read_text())]


def promtool(prometheus, problems):
    """True if promtool ran."""
    if shutil.which("promtool") is None:
        return False
    rules = sorted(str(p) for p in prometheus.glob("*.rules.yml"))
    tests = sorted(str(p) for p in (prometheus / "tests").glob("*.test.yml"))
    for command in (["check", "config", str(prometheus / "prometheus.yml")], ["check", "rules", *rules],
                    ["test", "rules", *tests]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            problems.append(f"promtool {' '.join(command[:2])}:\n{done.stdout}{done.stderr}")
    return True


def main(root: pathlib.Path) -> int:
    prometheus, problems = root / "deploy/prometheus", []
    alerts = check_alerts(prometheus, (root / "docs/alerts.md").read_text(), problems)
    records = check_records(prometheus, problems)
    check_bounds(root / "deploy", problems)
    check_metrics(prometheus, documented_metrics((root / "docs/metrics.md").read_text()), problems)
    if alerts < 15 or records < 10:
        problems.append(f"only {alerts} alerts and {records} records found: the test reads the wrong files")
    ran = promtool(prometheus, problems)
    print("\n".join(problems) or f"{alerts} alerts and {records} records, documented and tested")
    if problems:
        return 1
    if not ran:
        print("promtool is not installed: its part was skipped")
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
