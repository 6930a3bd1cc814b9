# SPDX-License-Identifier: GPL-2.0-only
"""Counts of test suites: what the tools printed, the table at the end, the last line."""

import json
import re
from dataclasses import asdict, dataclass, field

import ktap


@dataclass
class Row:
    """One line of the summary."""

    suite: str
    flavour: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """What one run of a command amounts to. `problems` explain failures in words.

    `cases` are the results one by one where the output has them.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: list = field(default_factory=list)
    cases: list = field(default_factory=list)

    def fail(self, problem):
        self.failed += 1
        self.problems.append(problem)


def read_ktap(text):
    """Tally of KTAP output. Skips are counted; whether they are allowed is the caller's rule."""
    report = ktap.parse(text)
    problems = [f"not ok: {case.name}" for case in report.cases if case.status == ktap.FAIL]
    return Tally(report.passed, report.failed, report.skipped, problems + report.errors,
                 report.cases)


_CARGO = re.compile(
    r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.M)
_CARGO_FAILED = re.compile(r"^test (.+) \.\.\. FAILED$", re.M)


def read_cargo(text):
    """Tally over all test binaries of one `cargo test`."""
    tally = Tally(problems=[f"failed: {name}" for name in _CARGO_FAILED.findall(text)])
    for passed, failed, ignored in _CARGO.findall(text):
        tally.passed += int(passed)
        tally.failed += int(failed)
        tally.skipped += int(ignored)
    return tally


_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.M)
_UNITTEST_END = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.M)
_UNITTEST_FAILED = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.+)$", re.M)


def read_unittest(text):
    """Tally of Python's unittest."""
    ran = _UNITTEST_RAN.search(text)
    end = _UNITTEST_END.search(text)
    if not ran or not end:
        tally = Tally()
        tally.fail("no result of unittest found")
        return tally
    counts = dict(re.findall(r"([a-z ]+?)=(\d+)", (end[1] or "").replace(", ", ",")))
    failed = sum(int(counts.get(k, 0)) for k in ("failures", "errors", "unexpected successes"))
    skipped = int(counts.get("skipped", 0))
    # Failing subtests may outnumber the tests that hold them.
    passed = max(0, int(ran[1]) - failed - skipped)
    problems = [f"failed: {name}" for name in _UNITTEST_FAILED.findall(text)]
    return Tally(passed, failed, skipped, problems)


def write_rows(path, rows):
    """Hand rows to the command that started this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_rows(path):
    """Rows written by `write_rows`; ValueError when the file is not that."""
    try:
        return [Row(**json.loads(line)) for line in path.read_text().splitlines()]
    except (json.JSONDecodeError, TypeError) as e:
        raise ValueError(f"{path.name}: {e}") from e


def table(rows):
    """The rows as aligned text, numbers to the right."""
    head = ("suite", "flavour", "passed", "failed", "skipped", "seconds")
    cells = [head] + [
        (r.suite, r.flavour or "-", str(r.passed), str(r.failed), str(r.skipped),
         f"{r.seconds:.0f}")
        for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w)
                  for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def last_line(rows):
    """The verdict in one plain line."""
    return f"{sum(r.passed for r in rows)} passed, {sum(r.failed for r in rows)} failed"
