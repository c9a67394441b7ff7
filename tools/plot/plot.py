"""Draws every result file: plot.py OUT_DIR FILE.json...  (`make plots`).

What a file holds is known by its content:
  schema alcca.fidelity (alcca fidelity --json)       NAME-loss-vs-cost, NAME-loss-by-position,
                                                      NAME-cost-vs-context
  rows with n and interactions (alcca eval --card-table --json)
                                                      NAME-interactions, NAME-cost-vs-context,
                                                      NAME-time-vs-context, NAME-loss-vs-cost
  Google Benchmark (attention_bench --benchmark_out)  NAME-time-vs-context
Other JSON files are left alone.
"""

import json
import pathlib
import re
import sys

from svg_chart import Axis, Series, bar_chart, line_chart

COST = "interactions, % of causal dense (index and sums included)"


def family(label: str) -> str:
    return label.split(":")[0]


def by_family(points):
    """(label, x, y) -> a series a family, in order of x."""
    families = {}
    for label, x, y in points:
        families.setdefault(family(label), []).append((x, y))
    return [Series(name, sorted(points)) for name, points in families.items()]


def with_reference(series, name, y):
    xs = [x for s in series for x, _ in s.points]
    return series + [Series(name, [(min(xs), y), (max(xs), y)], dashed=True)]


def plot_fidelity(data):
    about = (f"{data['model']['name']}, {data['text']}, {data['windows']} windows of "
             f"{data['length']} tokens")
    modes = [m for m in data["modes"] if m["attention"]["mode"] != "dense"]
    dense = data["dense"]["loss"]
    if modes:
        points = [(m["label"], 100 * m["performed_over_dense_causal"], m["loss"]["nats_per_byte"])
                  for m in modes]
        series = with_reference(by_family(points), "dense", dense["nats_per_byte"])
        yield "loss-vs-cost", line_chart("Loss against cost", about, Axis(COST, log=True, unit=" %"),
                                         Axis("nats per byte"), series)

    def by_position(loss, figure):
        return [((p["begin"] + p["end"]) / 2, p[figure]) for p in loss["by_position"]]

    # One budget a family, the first named: all of a sweep would hide each other.
    first = {}
    for m in modes:
        first.setdefault(family(m["label"]), m)
    losses = [("dense", dense)] + [(m["label"], m["loss"]) for m in first.values()]
    for kind, title, y_axis, figure in (
            ("loss-by-position", "Loss by position", Axis("nats per token"), "nats_per_token"),
            ("cost-vs-context", "Cost of one query against its context",
             Axis("interactions of a layer and head", log=True), "interactions")):
        yield kind, line_chart(title, about, Axis("position of the query"), y_axis,
                               [Series(name, by_position(loss, figure)) for name, loss in losses])


# Labels of tables made before tools/cli/measure/card_table.cc called rows by the server's modes.
OLD_LABELS = ((r"^full \(dense\)$", "dense (causal)"), (r"^sparse s=([\d.]+) \(topk\)$", r"topk \1"),
              (r"^window w=", "window "), (r"^ALCCA ", "alcca "))


def card_name(row):
    """A row's label, short: what it is for and how many neighbours it asks stand in the table."""
    label = str(row.get("label") or row["mode"])
    for old, new in OLD_LABELS:
        label = re.sub(old, new, label)
    return re.sub(r"^alcca k=\d+, ", "alcca, ", re.sub(r" \((?!causal)[^)]*\)$", "", label))


def plot_card_table(rows):
    def against_context(title, about, unit, figure, scale=1.0):
        points = {}
        for row in rows:
            # A window of another row's budget has another width at every n.
            if not str(row.get("role")).startswith("window_") and row.get(figure) is not None:
                points.setdefault(card_name(row), []).append((row["n"], scale * row[figure]))
        return line_chart(title, about, Axis("tokens", log=True), Axis(unit, log=True),
                          [Series(label, sorted(p)) for label, p in points.items()])

    counts = sorted({row["n"] for row in rows})
    largest = counts[-1]
    table = [row for row in rows if row["n"] == largest]
    bars = [(card_name(row), row["interactions_with_build"],
             f"{100 * row['vs_n2']:.3g} % of n\u00b2" if "vs_n2" in row else "") for row in table]
    yield "interactions", bar_chart(
        f"Interactions at n = {largest:,}", "per layer and query head, index build included", bars)
    if len(counts) > 1:
        yield "cost-vs-context", against_context(
            "Cost against context", "per layer and query head, index build included",
            "interactions", "interactions_with_build")
        if any(row.get("ms") is not None for row in rows):
            yield "time-vs-context", against_context(
                "Time of a prompt", "the whole model, one sequence", "seconds", "ms", 1e-3)
    scored = [row for row in table if row.get("nats_per_byte") is not None]
    if len(scored) > 1:
        yield "loss-vs-cost", line_chart(
            f"Loss against cost at n = {largest:,}", "per layer and query head",
            Axis("interactions, index build included", log=True), Axis("nats per byte"),
            [Series(card_name(row), [(row["interactions_with_build"], row["nats_per_byte"])])
             for row in scored])


def plot_benchmark(data):
    milliseconds = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
    points = {}
    for run in data["benchmarks"]:
        parts = run["name"].split("/")
        if run.get("run_type", "iteration") == "iteration" and parts[0] == "decode":
            points.setdefault(parts[1], []).append(
                (int(parts[2]), run["real_time"] * milliseconds[run["time_unit"]]))
    if points:
        yield "time-vs-context", line_chart(
            "Time of attention for one decoded token",
            "one layer of 32 query heads over 8 KV heads of 128, index growth included",
            Axis("tokens of context", log=True), Axis("milliseconds", log=True),
            [Series(mode, sorted(p)) for mode, p in points.items()])


def plots_of(data):
    if isinstance(data, dict) and data.get("schema") == "alcca.fidelity":
        return plot_fidelity(data)
    rows = data.get("rows") if isinstance(data, dict) else data
    if (isinstance(rows, list) and rows and
            all(isinstance(r, dict) and {"n", "mode", "interactions_with_build"} <= r.keys()
                for r in rows)):
        return plot_card_table(rows)
    if isinstance(data, dict) and "benchmarks" in data:
        return plot_benchmark(data)
    return ()


def main(out_dir: pathlib.Path, files) -> int:
    out_dir.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = pathlib.Path(file)
        for kind, svg in plots_of(json.loads(path.read_text())):
            target = out_dir / f"{path.stem}-{kind}.svg"
            target.write_text(svg)
            print(target)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
