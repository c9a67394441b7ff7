"""Every panel of the dashboards, every rule and every documented metric, on a real daemon under load and a
real Prometheus. Each query must return data.

Usage: panels_test.py SOURCE_DIR BIN_DIR"""

import json
import math
import pathlib
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import rules_test  # noqa: E402
import stack as stacks  # noqa: E402

# Few places and a short queue, so that a burst is refused; every tree search checked; an index bound that
# multipole meets; vLLM's names, which must be the ones that monitoring.md lists.
FLAGS = ["--max-num-seqs", "4", "--max-queued-requests", "8", "--attention-recall-sample", "1",
         "--attention-error-sample", "0.05", "--metrics-vllm-names", "true", "--log-level", "warn"]
# Queries whose every sample may be 0 in a healthy run.
MAY_BE_ZERO = {"Alerts that fire", "Fallbacks to dense", "Preemptions", "First token later than 1 s",
               "Token gap above 100 ms"}


def substitute(expression, seconds="10s"):
    for name, value in (("$__rate_interval", seconds), ("$__interval", seconds), ("$job", ".+"),
                        ("$instance", ".+")):
        expression = expression.replace(name, value)
    if "$" in expression:
        raise ValueError(f"a variable that the test does not know: {expression}")
    return expression


def panels_of(root):
    """(dashboard, panel) of each panel with a query."""
    for path in sorted((root / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.stem, panel


def needs_cuda(panel):
    return any("alcca_gpu_" in target["expr"] for target in panel["targets"])


def finite(result):
    return [float(v) for series in result for _, v in series["values"] if math.isfinite(float(v))]


def check_query(stack, name, target, may_be_zero, problems):
    values = finite(stack.query_range(substitute(target["expr"])))
    if not values:
        problems.append(f"{name}: no data for {target['expr']}")
    elif not may_be_zero and not any(values):
        problems.append(f"{name}: only zeros for {target['expr']}")


def check_panels(root, stack, problems):
    asked, skipped = 0, []
    for dashboard, panel in panels_of(root):
        name = f"{dashboard} / {panel['title']}"
        if needs_cuda(panel):
            skipped.append(name)
            if not panel["title"].endswith("(CUDA)"):
                problems.append(f"{name}: reads the GPU's metrics, and its title does not say (CUDA)")
            continue
        for target in panel["targets"]:
            check_query(stack, name, target, panel["title"] in MAY_BE_ZERO, problems)
            asked += 1
    for wrong in ('alcca_num_requests_running{job="nobody"}', "alcca_model_weight_bytes * 0"):
        found = []
        check_query(stack, "wrong", {"expr": wrong}, False, found)
        if not found:
            problems.append(f"{wrong} passes this test")
    print("skipped, they need CUDA:", "; ".join(skipped))
    return asked


def check_rules(root, stack, problems):
    rules = stack.rules()
    for rule in rules:
        if rule["health"] != "ok":
            problems.append(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}")
        if rule["type"] == "recording" and not finite(stack.query_range(rule["name"])):
            problems.append(f"rule {rule['name']} recorded nothing")
        elif rule["type"] == "alerting":
            stack.query(rule["query"])  # raises if Prometheus refuses it
    shipped = sum(path.read_text().count("- record:") + path.read_text().count("- alert:")
                  for path in (root / "deploy/prometheus").glob("*.rules.yml"))
    if len(rules) != shipped:
        problems.append(f"Prometheus has {len(rules)} of {shipped} rules")
    firing = {a["labels"]["alertname"] for r in rules if r["type"] == "alerting" for a in r["alerts"]
              if a["state"] == "firing"}
    for name in ("AlccaDown", "AlccaStepLoopStalled", "AlccaFileDescriptorsLow", "AlccaRestarting"):
        if name in firing:
            problems.append(f"{name} fires on a daemon that works")
    return len(rules)


# As vLLM's own dashboard and the usual ScaledObjects ask.
VLLM_QUERIES = [
    "sum(vllm:num_requests_waiting)", 'sum(vllm:num_requests_running{model_name="afia-5m"})',
    'avg(vllm:kv_cache_usage_perc{model_name="afia-5m"})', "max(vllm:cache_config_info) by (block_size)",
    'rate(vllm:prompt_tokens_total{model_name="afia-5m"}[10s])',
    'rate(vllm:generation_tokens_total{model_name="afia-5m"}[10s])',
    'sum by (finished_reason) (increase(vllm:request_success_total{model_name="afia-5m"}[10s]))',
    'sum by (le) (increase(vllm:request_prompt_tokens_bucket{model_name="afia-5m"}[10s]))',
    'rate(vllm:request_queue_time_seconds_sum{model_name="afia-5m"}[10s])',
    *(f'histogram_quantile(0.95, sum by (le) (rate(vllm:{name}_bucket{{model_name="afia-5m"}}[10s])))'
      for name in ("time_to_first_token_seconds", "inter_token_latency_seconds",
                   "time_per_output_token_seconds", "e2e_request_latency_seconds"))]


def check_documents(root, stack, problems):
    _, types = stack.scrape()
    exported = {name for name in types if not name.startswith("exposer_")}
    metrics = (root / "docs/metrics.md").read_text()
    ours = {name for name in rules_test.documented_metrics(metrics) if not name.startswith("alcca_gpu_")}
    vllm = set(re.findall(r"^\| `(vllm:[a-z0-9_]+)` \|", (root / "docs/monitoring.md").read_text(),
                          re.MULTILINE))
    for name in sorted(exported - ours - vllm):
        problems.append(f"{name} is exported, and neither docs/metrics.md nor monitoring.md lists it")
    for name in sorted((ours | vllm) - exported):
        problems.append(f"{name} is documented and not exported")
    for name, kind in types.items():
        row = next((line for line in metrics.splitlines() if line.startswith("|") and f"`{name}`" in line),
                   None)
        if row is not None and row.split("|")[2].strip() != kind:
            problems.append(f"docs/metrics.md: {name} is a {kind}")
    return len(exported)


def check_invariants(stack, problems):
    """What docs/metrics.md promises, once everything has ended."""
    def at_rest():
        series, _ = stack.scrape()
        return series if not series["alcca_num_requests_running"] + series["alcca_num_requests_waiting"] \
            and series["alcca_requests_started_total"] == ended(series) else None

    def total(series, name):
        return sum(v for k, v in series.items() if k.split("{")[0] == name)

    def ended(series):
        return total(series, "alcca_requests_finished_total") + total(series,
                                                                       "alcca_requests_rejected_total")
    try:
        series = stacks.wait_for("started = finished + rejected, and nothing runs", at_rest)
    except stacks.TimedOut as error:
        problems.append(str(error))
        return
    for name in ("alcca_kv_cache_usage_ratio", "alcca_index_bytes", "alcca_num_waiting_prompt_tokens"):
        if series[name] != 0:
            problems.append(f"{name} is {series[name]} with nothing running")
    for reason in ("abort", "stop", "length"):
        if not series[f'alcca_requests_finished_total{{reason="{reason}"}}']:
            problems.append(f"the load had no request that ended by {reason}")
    for reason in ("invalid", "queue_full"):
        if not series[f'alcca_requests_rejected_total{{reason="{reason}"}}']:
            problems.append(f"the load had no request refused as {reason}")
    same = (("vllm:generation_tokens_total", "alcca_generation_tokens_total"),
            ("vllm:e2e_request_latency_seconds_count", "alcca_e2e_request_latency_seconds_count"),
            ("vllm:request_success_total", "alcca_requests_finished_total"))
    for theirs, name in same:
        if total(series, theirs) != total(series, name):
            problems.append(f"{theirs} and {name} disagree")


def main(root: pathlib.Path, bin_dir: str) -> int:
    if shutil.which("prometheus") is None:
        print("prometheus is not installed")
        return 77
    problems, began = [], time.monotonic()
    stack = stacks.Stack(root, bin_dir, FLAGS)
    try:
        stacks.load(stack)
        print(f"load done after {time.monotonic() - began:.0f} s")
        check_invariants(stack, problems)
        # Rates need two scrapes after the last event, rules an evaluation after those.
        settled = time.time() + 2
        stacks.wait_for("an evaluation after the load", lambda: all(
            float(r["values"][-1][0]) >= settled for r in stack.query_range("job:alcca_waiting_requests:avg")
        ) and time.time() > settled)
        asked = check_panels(root, stack, problems)
        for query in VLLM_QUERIES:
            check_query(stack, "vLLM's names", {"expr": query}, False, problems)
        rules = check_rules(root, stack, problems)
        metrics = check_documents(root, stack, problems)
    finally:
        code = stack.close()
    if code != 0:
        problems.append(f"alccad ended with {code}")
    print("\n".join(problems) or f"{asked} panel queries, {rules} rules and {metrics} metrics returned data")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
