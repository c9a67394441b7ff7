"""tools/plot on a file of every kind: well-formed SVG, labels stay text, the same bytes twice; and
the figures in docs/figures are those that `make plots` would write."""

import json
import pathlib
import sys
import tempfile
import xml.etree.ElementTree as ET

HOSTILE = "</text><script>&\"'"


def card_table():
    rows = []
    for n in (250, 1000):
        for mode, share in (("dense", 0.5), (HOSTILE, 0.013)):
            rows.append({"n": n, "mode": "alcca", "label": mode, "interactions_qk": int(share * n * n),
                         "interactions_with_build": int(share * n * n), "vs_n2": share,
                         "vs_causal": 2 * share, "kv_bytes": 8, "ms": 1.0, "nats_per_byte": 1 - share})
    return rows


def benchmark():
    return {"benchmarks": [{"name": f"decode/{mode}/{n}/iterations:60/real_time", "real_time": n * 10.0,
                            "time_unit": "us", "run_type": "iteration"}
                           for mode in ("dense", HOSTILE.replace("/", "")) for n in (1024, 4096)]}


def fidelity():
    def loss(x):
        return {"nats_per_token": x, "nats_per_byte": x / 4,
                "by_position": [{"begin": 64 * i, "end": 64 * i + 64, "nats_per_token": x + i,
                                 "interactions": 10 * i + 10} for i in range(3)]}
    modes = [{"label": f"{name}:k={k}", "attention": {"mode": "alcca"}, "loss": loss(k),
              "performed_over_dense_causal": k / 100} for name in ("tree", HOSTILE) for k in (4, 8)]
    return {"schema": "alcca.fidelity", "version": 1, "model": {"name": HOSTILE}, "text": "t",
            "length": 192, "windows": 2, "dense": {"loss": loss(3)}, "modes": modes}


def check_samples(plot) -> int:
    expected = {"card": 4, "speed": 1, "loss": 3, "other": 0}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name, data in (("card", card_table()), ("speed", benchmark()), ("loss", fidelity()),
                           ("other", {"unknown": [1]})):
            (work / f"{name}.json").write_text(json.dumps(data))
        for out in ("one", "two"):
            plot.main(work / out, sorted(str(p) for p in work.glob("*.json")))
        files = sorted((work / "one").iterdir())
        for path in files:
            root = ET.fromstring(path.read_text())
            tags = {e.tag.split("}")[1] for e in root.iter()}
            assert "script" not in tags, path
            assert path.read_bytes() == (work / "two" / path.name).read_bytes(), path
        for name, count in expected.items():
            found = [p.name for p in files if p.name.startswith(name + "-")]
            assert len(found) == count, (name, found)
        return len(files)


def check_names(plot):
    """Rows of a card's table are named by the server's modes, in old tables too."""
    for old, new, name in (
            ("full (dense)", "dense (causal)", "dense (causal)"),
            ("window w=100", "window 100", "window 100"),
            ("sparse s=0.1 (topk)", "topk 0.1", "topk 0.1"),
            ("ALCCA k=8, exact search", "alcca k=8, exact search", "alcca, exact search"),
            ("ALCCA k=8, 11 newest keys", "alcca k=8, 11 newest keys", "alcca, 11 newest keys"),
            ("window w=8 (ALCCA's k)", "window 8 (alcca's k)", "window 8"),
            ("multipole", "multipole", "multipole")):
        for label in (old, new):
            assert plot.card_name({"label": label, "mode": "?"}) == name, label
    assert plot.card_name({"mode": "dense"}) == "dense"


def check_charts(plot, chart):
    rows = [row | {"ms": 2000.0 * row["n"], "interactions_with_build": row["n"] * 10**6} for row in card_table()]
    plots = dict(plot.plots_of(rows))
    texts = {kind: [e.text for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]
             for kind, svg in plots.items()}
    assert "seconds" in texts["time-vs-context"] and "2,000" in texts["time-vs-context"], texts
    assert "1 G" in texts["cost-vs-context"] and not any("1000 M" in t for t in texts["cost-vs-context"]), texts
    looks = [chart.look(i) for i in range(len(chart.COLOURS) * len(chart.MARKERS))]
    assert len(set(looks)) == len(looks), looks


def check_committed(plot, root) -> int:
    count = 0
    for folder in ("bench/results", "docs/figures"):
        for path in sorted((root / folder).glob("*.json")):
            for kind, svg in plot.plots_of(json.loads(path.read_text())):
                target = root / "docs/figures" / f"{path.stem}-{kind}.svg"
                assert target.exists() and target.read_text() == svg, f"{target}: run `make plots`"
                count += 1
    assert count >= 7, f"{count} plots of results: the test looks in the wrong place"
    return count


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root / "tools/plot"))
    import plot
    import svg_chart

    check_names(plot)
    check_charts(plot, svg_chart)
    print(check_samples(plot), "plots of samples,", check_committed(plot, root), "in docs/figures")
