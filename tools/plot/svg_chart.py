"""Line and bar charts as small SVG files: no dependency, readable on light and dark pages, and the
same bytes for the same data."""

import math
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

# Okabe and Ito's colours, told apart by colour-blind readers too, at a lightness that shows on
# white and on black; each series also has its own marker.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a0d3", "#8a6fc0", "#7a7f85"]
MARKERS = ["circle", "square", "triangle", "diamond"]
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #3b434c; }
.title { font-size: 15px; font-weight: 600; }
.soft { fill: #6b7580; }
.grid { stroke: #8a929b; stroke-opacity: 0.3; }
.axis { stroke: #8a929b; }
@media (prefers-color-scheme: dark) { text { fill: #d5dae0; } .soft { fill: #9aa5b1; } }
"""
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 820, 78, 200, 64, 52


@dataclass
class Series:
    name: str
    points: list  # of (x, y), ascending in x
    dashed: bool = False


@dataclass
class Axis:
    label: str
    log: bool = False
    zero: bool = False  # a linear axis that begins at 0
    unit: str = ""


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value / 1e9:g} G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


@dataclass
class Scale:
    low: float
    high: float
    log: bool
    pixel_low: float
    pixel_high: float
    ticks: list = field(default_factory=list)

    def at(self, value: float) -> float:
        f = math.log10 if self.log else float
        share = (f(value) - f(self.low)) / (f(self.high) - f(self.low))
        return self.pixel_low + share * (self.pixel_high - self.pixel_low)


def make_scale(values, axis: Axis, pixel_low: float, pixel_high: float) -> Scale:
    low, high = min(values), max(values)
    if axis.log:
        if low <= 0:
            raise ValueError(f"'{axis.label}' has a logarithmic axis and a value of {low}")
        steps = [1, 2, 5] if high / low < 300 else [1]
        marks = [m * 10.0**e for e in range(-12, 16) for m in steps]
        low = max(m for m in marks if m <= low * 1.0000001)
        high = min(m for m in marks if m >= high * 0.9999999)
        if low == high:
            high = low * 10
        return Scale(low, high, True, pixel_low, pixel_high, [m for m in marks if low <= m <= high])
    if axis.zero:
        low = min(low, 0)
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 5))
    step = next(s * step for s in (1, 2, 2.5, 5, 10) if span / (s * step) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = [i * step for i in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], False, pixel_low, pixel_high, ticks)


def marker(kind: str, x: float, y: float, colour: str, title: str) -> str:
    shape = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"',
        "square": f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"',
        "triangle": f'<path d="M{x:.1f} {y - 4.8:.1f}l4.6 8h-9.2z"',
        "diamond": f'<path d="M{x:.1f} {y - 5.2:.1f}l5.2 5.2l-5.2 5.2l-5.2 -5.2z"',
    }[kind]
    hint = f"<title>{escape(title)}</title>" if title else ""
    name = shape[1 : shape.index(" ")]
    return f'{shape} fill="{colour}">{hint}</{name}>'


def document(width, height, title, subtitle, body) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label={quoteattr(title)}>\n'
        f"<title>{escape(title)}</title>\n<desc>{escape(subtitle)}</desc>\n<style>{STYLE}</style>\n"
        f'<text class="title" x="12" y="24">{escape(title)}</text>\n'
        f'<text class="soft" x="12" y="44">{escape(subtitle)}</text>\n' + "\n".join(body) + "\n</svg>\n"
    )


def look(i: int):
    """Colour and marker of series i; where colours come again, they have another marker."""
    return COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]


def line_chart(title, subtitle, x_axis: Axis, y_axis: Axis, series) -> str:
    height = max(440, TOP + BOTTOM + 24 * len(series))
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    x = make_scale(xs, x_axis, LEFT, WIDTH - RIGHT)
    y = make_scale(ys, y_axis, height - BOTTOM, TOP)
    body = []
    for tick in y.ticks:
        at = f"{y.at(tick):.1f}"
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        body.append(f'<text class="soft" x="{LEFT - 8}" y="{y.at(tick) + 4:.1f}" text-anchor="end">'
                    f"{number(tick)}{escape(y_axis.unit)}</text>")
    for tick in x.ticks:
        at = f"{x.at(tick):.1f}"
        body.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{height - BOTTOM}" '
                    f'y2="{height - BOTTOM + 5}"/>')
        body.append(f'<text class="soft" x="{at}" y="{height - BOTTOM + 20}" text-anchor="middle">'
                    f"{number(tick)}{escape(x_axis.unit)}</text>")
    body.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height - BOTTOM}" '
                f'y2="{height - BOTTOM}"/>')
    body.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 10}" text-anchor="middle">'
                f"{escape(x_axis.label)}</text>")
    body.append(f'<text transform="translate(16 {(TOP + height - BOTTOM) / 2}) rotate(-90)" '
                f'text-anchor="middle">{escape(y_axis.label)}</text>')
    for i, s in enumerate(series):
        colour, kind = look(i)
        dash = ' stroke-dasharray="6 5"' if s.dashed else ""
        path = " ".join(f"{x.at(px):.1f},{y.at(py):.1f}" for px, py in s.points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        legend_y = TOP + 8 + 24 * i
        legend_x = WIDTH - RIGHT + 22
        body.append(f'<line x1="{legend_x - 10}" x2="{legend_x + 10}" y1="{legend_y}" y2="{legend_y}" '
                    f'stroke="{colour}" stroke-width="2"{dash}/>')
        if not s.dashed:
            for px, py in s.points:
                body.append(marker(kind, x.at(px), y.at(py), colour,
                                   f"{s.name}: {number(px)}{x_axis.unit}, {number(py)}{y_axis.unit}"))
            body.append(marker(kind, legend_x, legend_y, colour, ""))
        body.append(f'<text x="{legend_x + 18}" y="{legend_y + 4}">{escape(s.name)}</text>')
    return document(WIDTH, height, title, subtitle, body)


def bar_chart(title, subtitle, rows, unit="") -> str:
    """rows: (name, value, note). Lengths are proportional: no cut axis, no logarithm."""
    step, left, right = 32, 210, 230
    height = TOP + step * len(rows) + 12
    most = max(value for _, value, _ in rows)
    body = []
    for i, (name, value, note) in enumerate(rows):
        y = TOP + step * i
        length = max((WIDTH - left - right) * value / most, 1)
        body.append(f'<text x="{left - 10}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{step - 10}" rx="2" '
                    f'fill="{COLOURS[0]}"/>')
        body.append(f'<text x="{left + length + 8:.1f}" y="{y + 17}">{number(value)}{escape(unit)}'
                    f' <tspan class="soft">{escape(note)}</tspan></text>')
    return document(WIDTH, height, title, subtitle, body)
