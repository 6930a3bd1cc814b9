# SPDX-License-Identifier: GPL-2.0-only
"""How the scenarios of one boot went, by what uffd-study printed and what qemu/run found out."""

import re
from dataclasses import dataclass, field

from study.trace import DUMP

_RESULT = re.compile(r"(not )?ok \d+ (\S+)$")
# What uffd-study itself has to say before it gives up.
_COMPLAINT = "uffd-study: "
_KERNEL = re.compile(r"# (Linux .*)$")


@dataclass
class Played:
    """`problems`: {scenario: what went wrong}; `reports`: what the kernel reported, in full."""

    kernel: str
    problems: dict
    reports: list = field(default_factory=list)

    @property
    def good(self):
        return not self.reports and not any(self.problems.values())


def _before_dump(text):
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if DUMP in line), len(lines))
    return "\n".join(lines[:end])


def read(text, result, names):
    """The outcome for these scenarios; `result` is what qemu/run wrote with --json."""
    kernel, problems, remarks = "Linux", {}, []
    for line in text.splitlines():
        if found := _RESULT.match(line):
            problems[found[2]] = (remarks or ["it failed"]) if found[1] else []
            remarks = []
        elif (found := _KERNEL.match(line)) and not problems:
            kernel = found[1]
        elif line.startswith(("# ", _COMPLAINT)):
            remarks.append(line.removeprefix("# "))
    # What follows of the trace is in the timeline.
    reports = [_before_dump(report["text"]) for report in result["reports"] if not report["allowed"]]
    # With the guest all that was to come is gone, and so are remarks about the one that was on.
    lost = [*remarks, *result["reasons"]] or ["it was not played"]
    return Played(kernel, {name: problems.get(name, lost) for name in names}, reports)
