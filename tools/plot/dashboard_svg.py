"""A Grafana dashboard of ours and what Prometheus answered, as one SVG laid out like the dashboard. Not
Grafana's look: what its panels would show, readable on light and dark pages."""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

from svg_chart import COLOURS, Axis, document, make_scale

COLUMN, LINE, GAP = 55, 30, 8  # pixels of a grid column and row; between panels
MARGIN, TOP = 12, 58
HEAT = "#d55e00"
LEVELS = {"green": "#009e73", "yellow": "#b8860b", "orange": "#d55e00", "red": "#c0362c"}
NO_CUDA = "needs CUDA: no data in this run"


@dataclass
class Box:
    left: float
    top: float
    width: float
    height: float

    @property
    def right(self):
        return self.left + self.width

    @property
    def bottom(self):
        return self.top + self.height


BYTES = ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B"))
SECONDS = ((1, " s"), (1e-3, " ms"), (1e-6, " \u00b5s"))
NUMBERS = ((1e9, " G"), (1e6, " M"), (1e4, " k"), (0, ""))


def step_of(value, steps):
    """The largest of (factor, unit) not above `value`."""
    return next((s for s in steps if abs(value) >= s[0]), steps[-1])


def text_of(value, unit):
    """A value in Grafana's unit; what stands after "suffix:" is left to suffix_of."""
    if value == 0:
        return "0"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit not in ("s", "bytes") and (value >= 1e6 or abs(value) < 1e4):
        factor, suffix = step_of(value, NUMBERS)
        return f"{value:,.0f}" if abs(value) >= 1000 and not suffix else f"{value / (factor or 1):.3g}{suffix}"
    factor, suffix = step_of(value, {"s": SECONDS, "bytes": BYTES}.get(unit, ((1e3, " k"),)))
    return f"{value / factor:.3g}{suffix}"


def suffix_of(unit):
    return unit.removeprefix("suffix:").strip() if unit.startswith("suffix:") else ""


def label(x, y, text, anchor="start", kind="soft", size=11, extra=""):
    return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'style="font-size:{size}px{extra}">{escape(text)}</text>')


def line(x1, y1, x2, y2, kind="grid"):
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def path_of(points):
    """Runs of points; None breaks the line."""
    out, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
        else:
            out.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
            pen = "L"
    return "".join(out)


def legend_rows(names, width):
    """Names with their x, broken into rows that fit."""
    rows, x = [[]], 0.0
    for name in names:
        needs = 24 + 6.7 * len(name)
        if x + needs > width and rows[-1]:
            rows.append([])
            x = 0.0
        rows[-1].append((x, name))
        x += needs
    return rows


class Time:
    """The run's seconds across a plot."""

    def __init__(self, times, box):
        self.times, self.box = times, box
        self.scale = make_scale([times[0], times[-1]], Axis(""), box.left, box.right)
        self.scale.low, self.scale.high = times[0], times[-1]

    def at(self, seconds):
        return self.scale.at(seconds)

    def axis(self):
        out = [line(self.box.left, self.box.bottom, self.box.right, self.box.bottom, "axis")]
        step = next((s for s in (15, 30, 60, 120) if self.times[-1] - self.times[0] < 6 * s), 300)
        for mark in range(0, int(self.times[-1]) + 1, step):
            if self.times[0] <= mark:
                out.append(label(self.at(mark), self.box.bottom + 13, f"{mark // 60}:{mark % 60:02}",
                                 "middle", size=10))
        return out


def stack_up(series):
    """Series on top of each other; where one has no value it adds nothing."""
    total, out = None, []
    for name, values in series:
        below = total or [0.0] * len(values)
        total = [b + (v or 0.0) for b, v in zip(below, values)]
        out.append((name, below, total))
    return out


class Values:
    """A panel's values up its plot; round in binary units where they are bytes."""

    def __init__(self, shown, unit, log, box):
        self.unit, self.box = unit, box
        self.factor = step_of(max(shown), BYTES)[0] if unit == "bytes" else 1
        shown = [v / self.factor for v in shown]
        self.scale = make_scale(shown, Axis("", log=log, zero=not log and min(shown) >= 0), box.bottom,
                                box.top)

    def at(self, value):
        return self.scale.at(value / self.factor)

    def axis(self):
        out = []
        for tick in self.scale.ticks:
            y = self.scale.at(tick)
            out.append(line(self.box.left, y, self.box.right, y))
            out.append(label(self.box.left - 5, y + 4, text_of(tick * self.factor, self.unit), "end",
                             size=10))
        return out


def draw_lines(panel, series, times, box):
    config = panel["fieldConfig"]["defaults"]
    custom, unit = config["custom"], config["unit"]
    stacked, log = custom["stacking"]["mode"] == "normal", custom["scaleDistribution"]["type"] == "log"
    dashed = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
    rows = legend_rows([name for name, _ in series], box.width - 16)[:3]
    plot = Box(box.left + 58, box.top + 34, box.width - 70, box.height - 58 - 15 * len(rows))
    layers = stack_up(series) if stacked else []
    shown = [v for _, _, top in layers for v in top] or [
        v for _, values in series for v in values if v is not None and (v > 0 or not log)]
    if not shown:
        return [label(box.left + box.width / 2, box.top + box.height / 2, "no data", "middle")]
    limits = [s["value"] for s in config["thresholds"]["steps"][1:]]
    visible = [t for t in limits if min(shown) <= t <= max(max(shown) * 1.3, 1e-12)]
    y, time = Values(shown + visible, unit, log, plot), Time(times, plot)
    out = y.axis() + time.axis()
    for t in visible:
        out.append(f'<path d="M{plot.left:.1f} {y.at(t):.1f}H{plot.right:.1f}" stroke="{LEVELS["red"]}" '
                   'stroke-width="1" stroke-dasharray="2 4" fill="none"/>')
    for i, (name, below, top) in reversed(list(enumerate(layers))):
        shape = [(time.at(t), y.at(v)) for t, v in zip(times, top)]
        shape += [(time.at(t), y.at(v)) for t, v in reversed(list(zip(times, below)))]
        out.append(f'<path d="{path_of(shape)}Z" fill="{COLOURS[i % len(COLOURS)]}" fill-opacity="0.75">'
                   f"<title>{escape(name)}</title></path>")
    for i, (name, values) in enumerate([] if stacked else series):
        points = [None if v is None or (log and v <= 0) else (time.at(t), y.at(v))
                  for t, v in zip(times, values)]
        dash = ' stroke-dasharray="6 5"' if name in dashed else ""
        out.append(f'<path d="{path_of(points)}" fill="none" stroke="{COLOURS[i % len(COLOURS)]}" '
                   f'stroke-width="1.6"{dash}><title>{escape(name)}</title></path>')
    colour = {name: COLOURS[i % len(COLOURS)] for i, (name, _) in enumerate(series)}
    for r, row in enumerate(rows):
        at = box.bottom - 9 - 15 * (len(rows) - 1 - r)
        for x, name in row:
            left = box.left + 12 + x
            out.append(f'<rect x="{left:.1f}" y="{at - 6:.1f}" width="10" height="4" rx="1" '
                       f'fill="{colour[name]}"/>')
            out.append(label(left + 14, at, name))
    return out


def draw_stat(panel, series, times, box):
    config = panel["fieldConfig"]["defaults"]
    values = series[0][1] if series else []
    known = [(t, v) for t, v in zip(times, values) if v is not None]
    if not known:
        return [label(box.left + box.width / 2, box.top + box.height / 2 + 12,
                      "needs CUDA" if panel["title"].endswith("(CUDA)") else "no data", "middle")]
    last = known[-1][1]
    level = [s["color"] for s in config["thresholds"]["steps"] if s["value"] is None or last >= s["value"]][-1]
    spark = Box(box.left + 1, box.bottom - 34, box.width - 2, 30)
    time = Time(times, spark)
    y = make_scale([v for _, v in known], Axis("", zero=min(v for _, v in known) >= 0), spark.bottom, spark.top)
    shape = [(time.at(t), y.at(v)) for t, v in known]
    floor = [(shape[-1][0], spark.bottom), (shape[0][0], spark.bottom)]
    out = [f'<path d="{path_of(shape + floor)}Z" fill="{LEVELS[level]}" fill-opacity="0.18"/>']
    out.append(f'<text x="{box.left + box.width / 2:.1f}" y="{box.top + 66:.1f}" text-anchor="middle" '
               f'style="font-size:25px;font-weight:600;fill:{LEVELS[level]}">'
               f'{escape(text_of(last, config["unit"]))}'
               f'<tspan dx="4" style="font-size:12px">{escape(suffix_of(config["unit"]))}</tspan></text>')
    return out


def heat_cells(series):
    """(bound, counts per time) of each bucket, from cumulative ones; empty ends are left out."""
    bounds = sorted(((math.inf if le == "+Inf" else float(le)), values) for le, values in series)
    rows, before = [], None
    for bound, values in bounds:
        counts = [max(0.0, (v or 0.0) - (b or 0.0)) for v, b in zip(values, before or [0.0] * len(values))]
        rows.append((bound, counts))
        before = values
    full = [i for i, (_, counts) in enumerate(rows) if any(counts)]
    return rows[full[0]:full[-1] + 1] if full else []


def draw_heatmap(panel, series, times, box):
    rows = heat_cells(series)
    if not rows:
        return [label(box.left + box.width / 2, box.top + box.height / 2, "no data", "middle")]
    plot = Box(box.left + 58, box.top + 34, box.width - 70, box.height - 60)
    most = max(max(counts) for _, counts in rows)
    high, wide = plot.height / len(rows), plot.width / len(times)
    out = []
    for r, (bound, counts) in enumerate(rows):
        top = plot.bottom - (r + 1) * high
        if r % max(1, round(16 / high)) == 0:
            name = "more" if math.isinf(bound) else "\u2264 " + text_of(bound, "s")
            out.append(label(plot.left - 5, top + high / 2 + 4, name, "end", size=10))
        for c, count in enumerate(counts):
            if count > 0:
                out.append(f'<rect x="{plot.left + c * wide:.1f}" y="{top:.1f}" width="{wide:.1f}" '
                           f'height="{high - 1:.1f}" fill="{HEAT}" '
                           f'fill-opacity="{0.12 + 0.88 * math.sqrt(count / most):.2f}"/>')
    return out + Time(times, plot).axis()


def draw_table(panel, series, box):
    if not series:
        return [label(box.left + box.width / 2, box.top + box.height / 2, "no data", "middle")]
    columns = sorted(k for k in series[0] if k != "__name__")
    wide = (box.width - 24) / len(columns)
    out = []
    for i, column in enumerate(columns):
        out.append(label(box.left + 12 + i * wide, box.top + 48, column, kind="soft", size=12))
        for r, row in enumerate(series):
            out.append(label(box.left + 12 + i * wide, box.top + 70 + 20 * r, row.get(column, ""), kind="",
                             size=12))
    out.append(line(box.left + 12, box.top + 54, box.right - 12, box.top + 54))
    return out


def draw(dashboard, results, times, subtitle):
    """`results`: panel id -> [(legend, [value or None per time])], for a table [labels]."""
    body, bottom = [], 0.0
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        box = Box(MARGIN + grid["x"] * COLUMN, TOP + grid["y"] * LINE, grid["w"] * COLUMN - GAP,
                  grid["h"] * LINE - GAP)
        bottom = max(bottom, box.bottom)
        if panel["type"] == "row":
            body.append(label(box.left, box.top + 18, panel["title"], kind="", size=14,
                              extra=";font-weight:600"))
            continue
        body.append(f'<rect class="axis" x="{box.left}" y="{box.top}" width="{box.width}" '
                    f'height="{box.height}" rx="4" fill="none" stroke-opacity="0.45"/>')
        body.append(label(box.left + 10, box.top + 19, panel["title"], kind="", size=12.5))
        suffix = suffix_of(panel["fieldConfig"]["defaults"]["unit"])
        if suffix and panel["type"] != "stat":
            body.append(label(box.right - 10, box.top + 19, suffix, "end"))
        series = results[panel["id"]]
        if panel["type"] == "table":
            body += draw_table(panel, series, box)
        elif panel["type"] == "stat":
            body += draw_stat(panel, series, times, box)
        elif not series and panel["title"].endswith("(CUDA)"):
            body.append(label(box.left + box.width / 2, box.top + box.height / 2, NO_CUDA, "middle"))
        elif panel["type"] == "heatmap":
            body += draw_heatmap(panel, series, times, box)
        else:
            body += draw_lines(panel, series, times, box)
    width = 2 * MARGIN + 24 * COLUMN - GAP
    return document(width, round(bottom + MARGIN), dashboard["title"], subtitle, body)
