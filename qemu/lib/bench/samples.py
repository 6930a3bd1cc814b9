# SPDX-License-Identifier: GPL-2.0-only
"""What uffd-cost says: the rows it has, and samples of them."""

import json
import statistics
from dataclasses import dataclass, field

from common import die

# The row that gauges the guest's clock. It is measured in every guest, and shown nowhere.
CLOCK = "clock"
# How far a nanosecond of the guest's clock may be from an instruction.
CLOCK_ERROR = 0.01
INSTRUCTIONS = "instructions"
# Rows of this group need several CPUs, which nothing counts the instructions of.
THROUGHPUT = "throughput"
GROUPS = {
    "round trip": "Round trips",
    "background": "Filling pages that nobody waits for",
    "requests": "Other requests",
    "alternatives": "What a program could do instead",
    "growth": "Growth",
    "memory": "Memory",
    THROUGHPUT: "Several CPUs",
}


@dataclass(frozen=True)
class Row:
    """Something that can be measured. Growth: a row of a `family` has `n` of something."""

    name: str
    about: str
    group: str
    unit: str = INSTRUCTIONS
    family: str | None = None
    n: int | None = None


@dataclass(frozen=True)
class Sample:
    """One repeat: what an operation cost, in the row's unit, and its voluntary context switches."""

    ops: int
    cost: float
    switches: float
    extra: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """All samples of one row on one kernel."""

    samples: tuple

    @property
    def cost(self):
        return statistics.median(sample.cost for sample in self.samples)

    @property
    def switches(self):
        return statistics.median(sample.switches for sample in self.samples)

    @property
    def spread(self):
        """Distance of the extremes, as a part of the middle."""
        costs = [sample.cost for sample in self.samples]
        return (max(costs) - min(costs)) / self.cost if self.cost else 0.0

    def extra(self, name):
        """The middle of a further number, None where no sample has it."""
        values = [sample.extra[name] for sample in self.samples if name in sample.extra]
        return statistics.median(values) if values else None


def _objects(text):
    for line in text.splitlines():
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError(line)
        except ValueError:
            die(f"uffd-cost printed something else than an object: {line[:80]}")
        yield found


def rows(text):
    """The rows that `uffd-cost --list --json` names, in their order."""
    found = []
    for item in _objects(text):
        try:
            row = Row(item["row"], item["about"], item["group"], item.get("unit") or INSTRUCTIONS,
                      item.get("family") or None, item.get("n"))
        except KeyError as e:
            die(f"uffd-cost lists a row without {e}: {item}")
        if row.group not in GROUPS and row.name != CLOCK:
            die(f"uffd-cost puts {row.name} into the unknown group '{row.group}'")
        found.append(row)
    return found or die("uffd-cost listed no rows")


def parse(text, whole=True):
    """(the kernel's name, {row: [Sample]}) of what uffd-cost printed.

    What is not whole may end anywhere, and have no samples; its last line does not count.
    """
    kernel, found = None, {}
    for item in _objects(text if whole else text[:text.rfind("\n") + 1]):
        if "kernel" in item:
            kernel = item["kernel"]
        elif "lacking" not in item:
            name, sample = _sample(item)
            found.setdefault(name, []).append(sample)
    if whole and (kernel is None or not found):
        die("uffd-cost printed no samples")
    return kernel, found


def _sample(item):
    """(row, Sample) of a line."""
    try:
        return item["row"], Sample(int(item["ops"]), float(item["cost"]), float(item["switches"]),
                                   {k: float(v) for k, v in item.get("extra", {}).items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        die(f"uffd-cost printed something else than a sample: {json.dumps(item)[:80]}")


def check_clock(flavour, found):
    """Figures are worth nothing where the guest's clock does not count instructions."""
    cost = Figure(tuple(found[CLOCK])).cost if CLOCK in found else 0
    if abs(cost - 1) > CLOCK_ERROR:
        die(f"{flavour}: an instruction takes {cost:.3f} ns on the guest's clock instead of 1")
