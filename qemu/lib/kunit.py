# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's unit tests left in the console, and which of them there should be."""

import re

import ktap

_PLAN = re.compile(r"1\.\.(\d+)")
_TOP = re.compile(r"(?:not )?ok (\d+) ")
_KTAP = re.compile(r"\s*(?:K?TAP version \d|1\.\.\d|(?:not )?ok \d|#)")
_SUITE = re.compile(r"^\s*#\[(?:\w+::)*kunit_tests\((\w+)\)\]", re.M)


def suites_in(folder):
    """Names of the suites in the Rust files below a folder."""
    names = [name for path in sorted(folder.rglob("*.rs")) for name in _SUITE.findall(path.read_text())]
    return sorted(names)


def extract(console):
    """The results and what failed tests say, from the log's first header to the last result."""
    kept, plan = [], None
    for line in ktap.strip_console(console).split("\n"):
        # Details of a failure are indented; hardly anything else in the log is.
        if not _KTAP.match(line) and not line.startswith("    "):
            continue
        kept.append(line)
        if plan is None and (m := _PLAN.match(line)):
            plan = int(m[1])
        if (m := _TOP.match(line)) and int(m[1]) == plan:
            break
    return "\n".join(kept) + "\n" if kept else ""


def missing(text, expected):
    """The suites that did not report."""
    ran = {case.name.split("/")[0] for case in ktap.parse(text).cases}
    return [name for name in expected if name not in ran]
