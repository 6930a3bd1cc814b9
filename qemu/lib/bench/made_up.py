# SPDX-License-Identifier: GPL-2.0-only
"""Rows and figures for tests."""

from bench.results import Measured, Origin, Results
from bench.samples import Figure, Row, Sample

ROWS = (
    Row("fault-read", "a fault", "round trip"),
    Row("copy-1", "a page", "background"),
    Row("copy-512", "many pages", "background"),
    Row("register", "a request", "requests"),
    Row("plain-fault", "no userfaultfd", "alternatives"),
    *(Row(f"sleepers-{n}", f"{n} asleep", "growth", family="sleepers", n=n) for n in (0, 16, 4096)),
    *(Row(f"readers-{n}", f"{n} readers", "growth", family="readers", n=n) for n in (1, 4, 64)),
    Row("memory-context", "of a context", "memory", unit="bytes"),
    Row("throughput-4x1", "4 threads, 1 reader", "throughput", unit="faults/s"),
)


def figure(*costs, switches=2.0, extra=None):
    return Figure(tuple(Sample(10, cost, switches, extra or {}) for cost in costs))


def row(name):
    return next(row for row in ROWS if row.name == name)


def results(figures, complete=True, commit="0123"):
    """`figures`: {name or (name, cpus): (c, rust)}, each a figure or the costs of one, or None."""
    def made(value):
        return value if value is None or isinstance(value, Figure) else figure(value)

    rows = []
    for key, pair in figures.items():
        name, cpus = key if isinstance(key, tuple) else (key, 1)
        rows.append(Measured(row(name), *map(made, pair), cpus))
    return Results(Origin("Linux 7.3.4", "c0ffee" * 10, commit, {"c": "1", "rust": "2"}, "7.2.17",
                          "2026-11-21T13:00:00+00:00", 3, complete), rows)
