# SPDX-License-Identifier: GPL-2.0-only
"""Two runs beside each other: what has changed by more than its spread."""

from bench.table import align, number

HEAD = ("row", "C, A", "C, B", "change", "Rust, A", "Rust, B", "change", "spread", "moved")
SIDES = (("C", "c"), ("Rust", "rust"))


def _change(old, new):
    """Cells for one kernel, and whether it moved by more than the spread of either run."""
    cells = ["-" if figure is None else number(figure.cost) for figure in (old, new)]
    if not old or not new or not old.cost:
        return [*cells, "-"], False
    change = new.cost / old.cost - 1
    return [*cells, f"{100 * change:+.2f} %"], abs(change) > max(old.spread, new.spread)


def _cells(a, b):
    cells, moved = [], []
    for name, side in SIDES:
        shown, far = _change(getattr(a, side), getattr(b, side))
        cells += shown
        if far:
            moved.append(name)
    return (a.name, *cells, f"{100 * max(a.spread, b.spread):.2f} %", " and ".join(moved)), moved


def _differences(a, b):
    """What the runs themselves differ in, beyond what was measured."""
    for name in ("kernel", "config", "commit", "qemu"):
        values = [getattr(run.origin, name) for run in (a, b)]
        if values[0] != values[1]:
            yield f"different {name}: {values[0]} in A, {values[1]} in B"


def compare(a, b):
    """The comparison as text."""
    old, new = ({m.key: m for m in run.rows} for run in (a, b))
    lines, moved = [HEAD], []
    text = [f"A: {a.origin}", f"B: {b.origin}", *_differences(a, b), ""]
    apart = []
    for key in old.keys() & new.keys():
        if old[key].row.unit != new[key].row.unit:
            apart.append(key)
    for key in (key for key in old if key in new and key not in apart):
        cells, sides = _cells(old[key], new[key])
        lines.append(cells)
        if sides:
            moved.append(f"{cells[0]} ({' and '.join(sides)})")
    if len(lines) == 1:
        text.append("no row is in both")
    else:
        text += [*align(lines), "",
                 f"moved beyond the spread: {', '.join(moved) or 'nothing'}"]
    for title, rows in (
            ("only in A", [m for key, m in old.items() if key not in new]),
            ("only in B", [m for key, m in new.items() if key not in old]),
            ("in different units", [old[key] for key in old if key in apart])):
        if rows:
            text.append(f"{title}: {', '.join(m.name for m in rows)}")
    return "\n".join(text)
