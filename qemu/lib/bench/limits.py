# SPDX-License-Identifier: GPL-2.0-only
"""What figures must keep in every check, and the targets that a full run reports on."""

from bench.samples import THROUGHPUT
from bench.table import number

MAX_RATIO = 1.02
MAX_GROWTH = 1.10
MAX_SWITCHES = 2.05
# Every row of these groups is part of a check.
GATED = ("round trip", "background", "requests")
# Families in which a crowd must not make a fault dearer, and those in which it must not switch more.
FLAT = ("sleepers", "readers")
FEW_SWITCHES = ("readers",)


def _with_ratio(rows):
    return [row for row in rows if row.group in GATED]


def _ends(rows, family):
    """The least and the most crowded row of a family."""
    members = sorted((row for row in rows if row.family == family), key=lambda row: row.n)
    return members[0], members[-1]


def gate_rows(rows, flavour):
    """The rows that a check measures. Crowds take long in C, and no limit needs them there."""
    crowds = [] if flavour == "c" else [row for family in FLAT for row in _ends(rows, family)]
    return _with_ratio(rows) + crowds


def gate(rows, results):
    """[(what is checked, whether it holds)]; a figure that is missing does not hold."""
    found = {m.row.name: m for m in results.rows}

    def figure(row):
        return found[row.name].rust if row.name in found else None

    def at_most(limit, value, about):
        shown = "no figure" if value is None else f"{value:.3f}"
        return f"{about}: {shown}, at most {limit:.2f}", value is not None and value <= limit

    checks = [at_most(MAX_RATIO, found[row.name].ratio if row.name in found else None,
                      f"{row.name}, Rust by C") for row in _with_ratio(rows)]
    for family in FLAT:
        few, many = _ends(rows, family)
        growth = figure(many).cost / figure(few).cost if figure(many) and figure(few) else None
        checks.append(at_most(MAX_GROWTH, growth, f"Rust, {many.name} by {few.name}"))
        if family in FEW_SWITCHES:
            switches = figure(many).switches if figure(many) else None
            checks.append(at_most(MAX_SWITCHES, switches, f"Rust, switches per fault, {many.name}"))
    return checks


def misses(results):
    """The targets that are missed, in words: Rust costs no more than C, within the spread; what a
    fault costs does not grow by more than a tenth; a crowd of readers does not switch more."""
    lines = [line for m in results.rows if m.row.group != THROUGHPUT
             for line in _dearer(m, results.origin.complete)]
    families = results.families()
    for family in FLAT:
        members = [m for m in families.get(family, []) if m.rust]
        for m in members[1:]:
            growth = m.rust.cost / members[0].rust.cost
            if growth > MAX_GROWTH:
                lines.append(f"{m.name}: Rust takes {growth:.3f} times what {members[0].name} takes, "
                             f"at most {MAX_GROWTH:.2f}")
            if family in FEW_SWITCHES and m.rust.switches > MAX_SWITCHES:
                lines.append(f"{m.name}: Rust switches {m.rust.switches:.2f} times per fault, "
                             f"at most {MAX_SWITCHES:.2f}")
    return lines


def _dearer(m, complete):
    if m.rust is None:
        # In a run that was interrupted, Rust may not have had its turn.
        if complete:
            yield f"{m.name}: no figure for Rust"
    elif m.c and m.rust.cost > m.c.cost * (1 + m.spread):
        yield (f"{m.name}: Rust {number(m.rust.cost)}, C {number(m.c.cost)}, "
               f"{100 * (m.rust.cost / m.c.cost - 1):+.2f} % with a spread of {100 * m.spread:.2f} %"
               if m.c.cost else f"{m.name}: Rust {number(m.rust.cost)}, C nothing")
