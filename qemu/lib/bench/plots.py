# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of how figures grow, drawn by gnuplot.

A picture brings its own background, and a style sheet for dark surroundings: it is readable where the
viewer's preference is not known, too. The same results give the same bytes.
"""

import math
import re
import shutil
import subprocess
from dataclasses import dataclass

from bench.samples import INSTRUCTIONS
from bench.table import number
from common import die

GNUPLOT = "gnuplot"
WIDTH, HEIGHT = 760, 420
# From which growth on the upper axis is logarithmic: before, equal steps show more.
LOGARITHMIC = 5
# What a curve is drawn in: on a light and on a dark background.
THEME = {
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "line": ("#59636e", "#9198a1"),
    "grid": ("#d1d9e0", "#3d444d"),
    "c": ("#bc4c00", "#f0883e"),
    "rust": ("#0969da", "#58a6ff"),
}
SIDES = (("c", "C"), ("rust", "Rust"))


@dataclass(frozen=True)
class About:
    """What the axes of a family say. `operation`: what a figure is one of."""

    title: str
    crowd: str
    operation: str


FAMILIES = {
    "sleepers": About("one fault while other threads sleep in theirs", "other threads asleep in faults",
                      "fault"),
    "readers": About("one fault with several threads blocked in read()", "threads blocked in read()",
                     "fault"),
    "pollers": About("one fault with several threads in poll()", "threads in poll()", "fault"),
    "unread": About("reading one message while others wait", "unread messages", "read()"),
    "drain": About("a message when one read() gets all of them", "unread messages", "message"),
    "mappings": About("registering a range of several mappings", "mappings (VMAs) in the range",
                      "REGISTER and UNREGISTER"),
}
# Families of which a second picture shows the context switches.
SWITCHES = ("readers",)


@dataclass(frozen=True)
class Curve:
    """A picture: `points` of each side are (n, value), in the order of n."""

    name: str
    title: str
    x: str
    y: str
    points: dict


def curves(results):
    """The pictures that these results allow. A row alone is no curve."""
    found = []
    for family, rows in results.families().items():
        about = FAMILIES.get(family, About(f"growth with {family}", family, "operation"))
        unit = rows[0].row.unit

        def points(value):
            return {side: [(m.row.n, value(getattr(m, side))) for m in rows if getattr(m, side)]
                    for side, _ in SIDES}

        costs = f"guest {unit}" if unit == INSTRUCTIONS else unit
        found.append(Curve(family, f"Instructions: {about.title}", about.crowd, f"{costs} per {about.operation}",
                           points(lambda figure: figure.cost)))
        if family in SWITCHES:
            found.append(Curve(f"{family}-switches", f"Context switches: {about.title}", about.crowd,
                               f"voluntary context switches per {about.operation}",
                               points(lambda figure: figure.switches)))
    return [curve for curve in found if all(len(curve.points[side]) > 1 for side, _ in SIDES)]


def _nice(step):
    """The next 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def _decades(low, high):
    """Round numbers of a logarithmic axis for `low` to `high`, and its ends: the upper one has room
    for what is written there."""
    factors = (1, 2, 5) if high / low < 300 else (1,)
    tics = [factor * 10 ** power for power in range(-3, 13) for factor in factors]
    first, last = max(tic for tic in tics if tic <= low / 1.1), high * 1.6
    return [tic for tic in tics if first <= tic <= last], first, last


def _steps(high):
    """The same of an even axis from 0."""
    step = _nice(high * 1.05 / 6)
    count = math.ceil(high * 1.05 / step)
    return [i * step for i in range(count + 1)], 0, count * step


def _tics(values):
    return ", ".join(f'"{value:,.10g}" {at:.10g}' for value, at in values)


def _crowd(ns):
    """Where each number stands: equal factors are equal steps, and nothing stands a step before."""
    return {n: n if n else min(n for n in ns if n) / 4 for n in ns}


def script(curve):
    """What gnuplot is told."""
    color = {name: light for name, (light, _) in THEME.items()}
    ns = sorted({n for points in curve.points.values() for n, _ in points})
    at = _crowd(ns)
    values = [value for points in curve.points.values() for _, value in points]
    logarithmic = min(values) > 0 and max(values) / min(values) > LOGARITHMIC
    tics, low, high = _decades(min(values), max(values)) if logarithmic else _steps(max(values))
    margin = (max(at.values()) / min(at.values())) ** 0.03
    lines = [
        f'set terminal svg size {WIDTH},{HEIGHT} fixed font "sans-serif,15" noenhanced '
        f'background "{color["paper"]}"',
        f'set border 3 lc rgb "{color["line"]}"',
        f'set label 1 "{curve.title}" at screen 0.02, screen 0.95 left font ",17" '
        f'tc rgb "{color["ink"]}"',
        f'set xlabel "{curve.x}" tc rgb "{color["ink"]}"',
        f'set ylabel "{curve.y}" tc rgb "{color["ink"]}"',
        "set lmargin 12", "set rmargin 10", "set tmargin at screen 0.80", "set bmargin 4",
        "set logscale x",
        f"set xrange [{min(at.values()) / margin:.10g}:{max(at.values()) * margin:.10g}]",
        f"set yrange [{low:.10g}:{high:.10g}]",
        f"set xtics ({_tics((n, at[n]) for n in ns)}) nomirror scale 0.6",
        f"set ytics ({_tics((tic, tic) for tic in tics)}) nomirror scale 0.6",
        f'set grid ytics lt 1 lw 0.6 lc rgb "{color["grid"]}"',
        f'set key at screen 0.98, screen 0.88 right horizontal Left reverse tc rgb "{color["ink"]}"',
    ]
    if logarithmic:
        lines.append("set logscale y")
    lines += _ends(curve, at, color, logarithmic, low, high)
    for side, _ in SIDES:
        lines += [f"${side} << END", *(f"{at[n]:.10g} {v:.10g}" for n, v in curve.points[side]), "END"]
    # Where both are alike, the one below is the wider one.
    looks = {"c": "lw 4 pt 4 ps 1.1", "rust": "lw 2 pt 7 ps 0.6"}
    lines.append("plot " + ", ".join(
        f'${side} with linespoints lc rgb "{color[side]}" {looks[side]} title "{name}"'
        for side, name in SIDES))
    return "\n".join(lines) + "\n"


def _ends(curve, at, color, logarithmic, low, high):
    """The last figure of each side, written behind it, and not over the other."""
    last = {side: curve.points[side][-1] for side, _ in SIDES}
    scale = math.log if logarithmic else float
    base = scale(low) if logarithmic else 0.0

    def height(side):
        return (scale(last[side][1]) - base) / (scale(high) - base)

    near = abs(height("c") - height("rust")) < 0.07
    upper = max(last, key=lambda side: last[side][1])
    for index, (side, (n, value)) in enumerate(last.items(), 2):
        shift = (0.5 if side == upper else -0.5) if near else 0
        yield (f'set label {index} "{number(value)}" at {at[n]:.10g}, {value:.10g} left '
               f'offset 1.2, {shift} font ",13" tc rgb "{color[side]}"')


def _decimal(color):
    return tuple(int(color[i:i + 2], 16) for i in (1, 3, 5))


def _style():
    """A style sheet that gives every color its dark counterpart."""
    rules = []
    for light, dark in THEME.values():
        r, g, b = _decimal(light)
        # All the ways in which gnuplot writes a color.
        forms = (light, f"rgb({r},{g},{b})", f"rgb({r:3}, {g:3}, {b:3})")
        for name in ("fill", "stroke", "color"):
            selector = ",".join(f'[{name}="{form}"]' for form in forms)
            rules.append(f"{selector}{{{name}:{dark}}}")
    return "<style>@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}</style>"


def draw(curve):
    """The picture as the text of an SVG file."""
    try:
        run = subprocess.run([GNUPLOT, "-"], input=script(curve), text=True, capture_output=True,
                             check=False)
    except OSError as e:
        die(f"cannot run {GNUPLOT}: {e.strerror}")
    if run.returncode or "</svg>" not in run.stdout:
        die(f"{GNUPLOT} failed: {run.stderr.strip()[:300]}")
    text = re.sub(r"<desc>.*?</desc>", f"<desc>{curve.y}, by {curve.x}</desc>\n{_style()}", run.stdout,
                  count=1, flags=re.S)
    text = re.sub(r"<title>.*?</title>", f"<title>{curve.title}</title>", text, count=1)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def need_gnuplot():
    """Stop before anything is measured when nothing could be drawn afterwards."""
    if not shutil.which(GNUPLOT):
        die(f"{GNUPLOT} is missing, which draws the plots: run `make setup`, or install gnuplot-nox")
