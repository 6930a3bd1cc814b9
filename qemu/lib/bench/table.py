# SPDX-License-Identifier: GPL-2.0-only
"""The figures as aligned text that is Markdown, too."""

from bench.samples import GROUPS, THROUGHPUT

HEAD = ("row", "C", "Rust", "ratio", "spread", "switches C", "switches Rust")


def number(value):
    """A figure with as many digits as it is worth."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def align(lines):
    """Rows of cells as a table: the first row is the head, the first column goes to the left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "| " + " | ".join(cell.rjust(width) if i else cell.ljust(width)
                          for i, (cell, width) in enumerate(zip(line, widths))) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-")
                          for i, width in enumerate(widths)) + "|"
    return [text[0], rule, *text[1:]]


def _or_dash(figure, shown):
    return shown(figure) if figure else "-"


def _common(m):
    """The cells that all tables have: both figures, their ratio, the spread."""
    return (_or_dash(m.c, lambda f: number(f.cost)), _or_dash(m.rust, lambda f: number(f.cost)),
            "-" if m.ratio is None else f"{m.ratio:.3f}", f"{100 * m.spread:.2f} %")


def _counted(m):
    return (m.name, *_common(m), _or_dash(m.c, lambda f: f"{f.switches:.2f}"),
            _or_dash(m.rust, lambda f: f"{f.switches:.2f}"))


def blocks(results):
    """[(group, lines of its table)]; all tables of counted figures are equally wide."""
    groups = [(group, results.of(group)) for group in GROUPS if group != THROUGHPUT]
    groups = [(group, rows) for group, rows in groups if rows]
    lines = align([HEAD, *(_counted(m) for _, rows in groups for m in rows)])
    head, body = lines[:2], lines[2:]
    found = []
    for group, rows in groups:
        found.append((group, [*head, *body[:len(rows)]]))
        del body[:len(rows)]
    rows = results.of(THROUGHPUT)
    if rows:
        found.append((THROUGHPUT, _throughput(rows)))
    return found


def _throughput(rows):
    extras = list(dict.fromkeys(
        name for m in rows for figure in m.figures
        for sample in figure.samples for name in sample.extra))

    def extra(figure, name):
        value = figure.extra(name) if figure else None
        return "-" if value is None else f"{value:,.3f}"

    head = (f"row, {rows[0].row.unit}", *HEAD[1:],
            *(f"{name} {who}" for name in extras for who in HEAD[1:3]))
    return align([head, *(
        (*_counted(m), *(extra(f, name) for name in extras for f in (m.c, m.rust)))
        for m in rows)])


def terminal(results):
    """One table for people, with a heading above each group."""
    text = []
    for group, lines in blocks(results):
        # Equally wide tables need their head only once.
        body = lines if not text or group == THROUGHPUT else lines[2:]
        title = GROUPS[group]
        if group == THROUGHPUT:
            title += ": emulation, more is better; host load moves all of it; no limit applies"
        text += ["", title, *body]
    return "\n".join(text[1:])


def misses(lines):
    """The targets that were missed, a line each."""
    if not lines:
        return "targets: every row keeps them"
    return "\n".join([f"targets missed: {len(lines)}", *(f"  {line}" for line in lines)])
