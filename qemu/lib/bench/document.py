# SPDX-License-Identifier: GPL-2.0-only
"""The parts of the documentation that are written from the list of rows and from results."""

import marks
from bench import limits, plots, table
from bench.samples import CLOCK, GROUPS, THROUGHPUT
from common import ROOT, write_whole

DOCUMENT = ROOT / "Documentation" / "performance.md"
PLOTS = ROOT / "Documentation" / "plots"


def rows_part(rows):
    """What each row is, by group, in the program's own words."""
    text = []
    for group, title in GROUPS.items():
        lines = [("row", "operation"), *((f"`{row.name}`", row.about) for row in rows
                                         if row.group == group and row.name != CLOCK)]
        if len(lines) > 1:
            text += [f"### {title}", "", "| row | operation |", "|---|---|"]
            text += [f"| {name} | {about} |" for name, about in lines[1:]]
            text.append("")
    return "\n".join(text)


def explains(text, rows):
    """Whether a document has the present explanation of all rows."""
    return marks.holds(text, "rows", rows_part(rows))


def _tables(results, groups):
    text = []
    for group, lines in table.blocks(results):
        if group in groups:
            text += [*([f"### {GROUPS[group]}", ""] if len(groups) > 1 else []), *lines, ""]
    return "\n".join(text)


def _plots_part(curves):
    return "\n\n".join(
        f"![{curve.title}. {curve.y}, by {curve.x}; C and Rust](plots/{curve.name}.svg)"
        for curve in curves)


def parts(results):
    """{mark: text} of everything that comes from figures."""
    counted = [group for group in GROUPS if group != THROUGHPUT]
    misses = limits.misses(results)
    return {
        "origin": f"{results.origin}.",
        "table": _tables(results, counted),
        "throughput": _tables(results, [THROUGHPUT]) or "Not measured.",
        "targets": "\n".join(f"- {line}" for line in misses) or "None.",
        "plots": _plots_part(plots.curves(results)),
    }


def write_rows(rows):
    """Put the explanation of the rows into the documentation."""
    marks.write(DOCUMENT, {"rows": rows_part(rows)})


def write(results, pictures):
    """Put a run into the documentation. `pictures`: {name: SVG}."""
    rows = list(dict.fromkeys(m.row for m in results.rows))
    marks.write(DOCUMENT, {"rows": rows_part(rows), **parts(results)})
    write_plots(PLOTS, pictures)


def write_plots(folder, pictures):
    """Keep these pictures in a folder, and no older ones."""
    for name, text in pictures.items():
        write_whole(folder / f"{name}.svg", text)
    for old in folder.glob("*.svg"):
        if old.stem not in pictures:
            old.unlink()


def is_current(rows):
    """Whether the documentation explains the rows that there are."""
    try:
        return explains(DOCUMENT.read_text(encoding="utf-8"), rows)
    except OSError:
        return False
