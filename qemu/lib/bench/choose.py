# SPDX-License-Identifier: GPL-2.0-only
"""Which rows a run has."""

from bench.samples import CLOCK, GROUPS
from common import die


def _matches(text, row):
    return row.name == text[1:] if text.startswith("=") else text in row.name


def choose(rows, texts=(), groups=()):
    """Those of `rows` whose names contain one of `texts`, and which are in one of `groups`.

    A text with = in front is a whole name. What chooses nothing is an error that lists what there is.
    """
    rows = [row for row in rows if row.name != CLOCK]
    for group in groups:
        if group not in GROUPS:
            die(f"unknown group '{group}', one of: {', '.join(GROUPS)}")
    for text in texts:
        if not text.strip("="):
            die(f"'{text}' names no row")
        if not any(_matches(text, row) for row in rows):
            die(f"no row matches '{text}'; there are: {' '.join(row.name for row in rows)}")
    chosen = [row for row in rows
              if (not groups or row.group in groups)
              and (not texts or any(_matches(text, row) for text in texts))]
    return chosen or die("no row is left: "
                         f"none of {' '.join(texts) or 'them'} is in {' or '.join(groups)}")


def listing(rows):
    """The rows for people, by group."""
    width = max(len(row.name) for row in rows)
    lines = []
    for group, title in GROUPS.items():
        of_group = [row for row in rows if row.group == group]
        if of_group:
            lines += ["", f"{title} ({group}):"]
            lines += [f"  {row.name:<{width}}  {row.about}" for row in of_group]
    return "\n".join(lines[1:])
