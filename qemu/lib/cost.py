# SPDX-License-Identifier: GPL-2.0-only
"""What uffd-cost measured on two kernels: its samples, a table, and the limits they must keep."""

import json
import statistics
from dataclasses import dataclass

from common import die

FORMAT = 1
CLOCK = "clock"
# How far a nanosecond of the guest's clock may be from an instruction.
CLOCK_ERROR = 0.01

MAX_RATIO = 1.02
MAX_GROWTH = 1.10
MAX_SWITCHES = 2.05
_FEW_SLEEPERS, _MANY_SLEEPERS = "sleepers-0", "sleepers-4096"
_FEW_READERS, _MANY_READERS = "readers-1", "readers-64"
_RATIO_ROWS = (
    "fault-read", "fault-poll", "copy-1", "zeropage-1", "wake-nobody", "register", "copy-shmem-1",
    "copy-hugetlb-1", "continue-1", "poison-1", "move-1", "move-512", "wp-1", "wp-512", "rwp-1",
    "fault-wp", "fault-wp-async",
)
# Those for C that cost a lot are left out: only their ratio would need them.
GATE_ROWS = {
    "c": _RATIO_ROWS,
    "rust": (*_RATIO_ROWS, _FEW_SLEEPERS, _MANY_SLEEPERS, _FEW_READERS, _MANY_READERS),
}


@dataclass(frozen=True)
class Figure:
    """One row on one kernel: guest instructions and voluntary context switches per operation."""

    costs: tuple
    switches: tuple

    @property
    def cost(self):
        return statistics.median(self.costs)

    @property
    def switch(self):
        return statistics.median(self.switches)

    @property
    def spread(self):
        """Distance of the extremes, as a part of the middle."""
        return (max(self.costs) - min(self.costs)) / self.cost


def parse(text):
    """(the kernel's name, {row: Figure}) of uffd-cost's output."""
    kernel, samples = None, {}
    try:
        for line in text.splitlines():
            found = json.loads(line)
            if "kernel" in found:
                kernel = found["kernel"]
            elif "lacking" not in found:
                samples.setdefault(found["row"], []).append(
                    (float(found["cost"]), float(found["switches"])))
    except (ValueError, KeyError, TypeError):
        die(f"uffd-cost printed something else than samples: {line[:80]}")
    if kernel is None or not samples:
        die("uffd-cost printed no samples")
    return kernel, {row: Figure(*zip(*values)) for row, values in samples.items()}


def check_clock(flavour, figures):
    """Figures are worth nothing where the guest's clock does not count instructions."""
    cost = figures[CLOCK].cost if CLOCK in figures else 0
    if abs(cost - 1) > CLOCK_ERROR:
        die(f"{flavour}: an instruction takes {cost:.3f} ns on the guest's clock instead of 1")


def ratio(c, rust, row):
    """Cost in Rust as a part of that in C, None where one is missing."""
    return rust[row].cost / c[row].cost if row in c and row in rust else None


def _cells(c, rust, row):
    def number(figures):
        return f"{figures[row].cost:,.0f}" if row in figures else "-"

    def switches(figures):
        return f"{figures[row].switch:.2f}" if row in figures else "-"

    quotient = ratio(c, rust, row)
    spread = max(figures[row].spread for figures in (c, rust) if row in figures)
    return (row, number(c), number(rust), "-" if quotient is None else f"{quotient:.3f}",
            f"{100 * spread:.2f} %", switches(c), switches(rust))


def rows_of(c, rust):
    """The rows of both, in the order of the program, without the gauge."""
    return [row for row in dict.fromkeys((*c, *rust)) if row != CLOCK]


HEAD = ("row", "C", "Rust", "ratio", "spread", "switches C", "switches Rust")


def table(c, rust):
    """Aligned text that is a Markdown table, too."""
    cells = [HEAD, *(_cells(c, rust, row) for row in rows_of(c, rust))]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.rjust(width) if i else cell.ljust(width)
                          for i, (cell, width) in enumerate(zip(line, widths))) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-")
                          for i, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


_BEGIN, _END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def replace_table(text, new):
    """`text` with `new` between its marks, ValueError where they are not."""
    head, begin, rest = text.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError("no marks for the table")
    return f"{head}{begin}{new}\n{end}{tail}"


def gate(c, rust):
    """[(what is checked, whether it holds)]; a figure that is missing does not hold."""
    def at_most(limit, value, about):
        shown = "no figure" if value is None else f"{value:.3f}"
        return f"{about}: {shown}, at most {limit:.2f}", value is not None and value <= limit

    def growth(few, many):
        return rust[many].cost / rust[few].cost if few in rust and many in rust else None

    many = rust.get(_MANY_READERS)
    return [
        *(at_most(MAX_RATIO, ratio(c, rust, row), f"{row}, Rust by C") for row in _RATIO_ROWS),
        at_most(MAX_GROWTH, growth(_FEW_SLEEPERS, _MANY_SLEEPERS),
                f"Rust, {_MANY_SLEEPERS} by {_FEW_SLEEPERS}"),
        at_most(MAX_GROWTH, growth(_FEW_READERS, _MANY_READERS),
                f"Rust, {_MANY_READERS} by {_FEW_READERS}"),
        at_most(MAX_SWITCHES, many and many.switch,
                f"Rust, switches per fault, {_MANY_READERS}"),
    ]


def ktap(checks):
    """The checks as test results."""
    lines = ["KTAP version 1", f"1..{len(checks)}"]
    lines += [f"{'ok' if holds else 'not ok'} {number} {about}"
              for number, (about, holds) in enumerate(checks, 1)]
    return "\n".join(lines)


def document(kernel, commit, c, rust):
    """What --json writes."""
    def side(figures, row):
        if row not in figures:
            return None
        figure = figures[row]
        return {"cost": figure.cost, "spread": round(figure.spread, 5), "switches": figure.switch,
                "costs": figure.costs}

    return {
        "format": FORMAT, "kernel": kernel, "commit": commit, "unit": "guest instructions",
        "rows": [{"name": row, "c": side(c, row), "rust": side(rust, row),
                  "ratio": ratio(c, rust, row)} for row in rows_of(c, rust)],
    }
