# SPDX-License-Identifier: GPL-2.0-only
"""Decides which suites a run of `qemu/check` has, and what their results are worth."""

from dataclasses import dataclass, field

import ktap
from common import die
from suites import SUITES, rows_file
from summary import Row, Tally, read_rows


@dataclass(frozen=True)
class Item:
    """One suite on one flavour."""

    suite: object
    flavour: str

    @property
    def title(self):
        return f"{self.suite.name} ({self.flavour})" if self.flavour else self.suite.name

    @property
    def key(self):
        return self.suite.name, self.flavour

    @property
    def log_name(self):
        return f"check-{self.suite.name}{f'-{self.flavour}' if self.flavour else ''}.log"


def all_items(suites=SUITES):
    """Everything there is, in the order of a run."""
    return [Item(s, f) for s in suites for f in (*s.flavours, *s.long)]


def _check_names(items, only, flavours):
    """An unknown name is an error that lists the valid ones."""
    names = list(dict.fromkeys(i.suite.name for i in items))
    known = list(dict.fromkeys(i.flavour for i in items if i.flavour))
    for kind, given, valid in (("suite", only, names), ("flavour", flavours, known)):
        for name in given:
            if name not in valid:
                die(f"unknown {kind} '{name}', one of: {' '.join(valid)}")


def needed(item, items):
    """The items that must have passed before this one."""
    return [i for i in items if i.key in item.suite.needs_also
            or (i.suite.name in item.suite.needs and i.flavour in ("", item.flavour))]


def choose(only=(), flavours=(), long=False, suites=SUITES):
    """Returns (items to run, items left out). What is asked for by name needs no --long."""
    items = all_items(suites)
    _check_names(items, only, flavours)
    wanted = []
    for item in items:
        named = item.suite.name in only
        if (only and not named) or (flavours and item.flavour not in flavours):
            continue
        usual = item.flavour in item.suite.flavours
        if usual or long or flavours or (named and not item.suite.flavours):
            wanted.append(item)
    if not wanted:
        die("no suite is left: "
            + "; ".join(f"{s.name} runs on {' '.join((*s.flavours, *s.long)).strip() or 'the host'}"
                        for s in suites if s.name in only))
    keys = {i.key for i in wanted}
    # Backwards, because what is needed may need something itself.
    for item in reversed(items):
        if item.key in keys:
            keys.update(i.key for i in needed(item, items))
    return [i for i in items if i.key in keys], [i for i in items if i.key not in keys]


@dataclass
class Result:
    """The rows of one item and what is wrong with them."""

    rows: list
    problems: list = field(default_factory=list)

    @property
    def failed(self):
        return sum(row.failed for row in self.rows)


def blocked(item, by):
    """The result of an item that cannot run."""
    row = Row(item.suite.name, item.flavour, failed=1)
    return Result([row], [f"not run: {by.title} failed"])


def _settle_skips(tally, listed, outcome):
    """A skip is fine if it is listed with the reason it gives."""
    complete = not tally.failed and not outcome.problem
    skipped = [case for case in tally.cases if case.status == ktap.SKIP]
    wrong = [case for case in skipped if listed.get(case.name) != case.reason]
    for case in wrong:
        tally.fail(f"skipped, and not listed so: {case.name} # {case.reason}")
    for _ in range(tally.skipped - len(skipped)):
        tally.fail("skipped, and nothing may skip here")
    tally.skipped = len(skipped) - len(wrong)
    if complete:
        # After a failure, a test that did not skip may not have been reached.
        for name in sorted(listed.keys() - {case.name for case in skipped}):
            tally.fail(f"listed as skipped, but it was not: {name}")


def _settle(item, tally, outcome):
    """Apply the rules that hold for every suite."""
    _settle_skips(tally, item.suite.skips(item.flavour), outcome)
    if outcome.problem:
        tally.fail(outcome.problem)
    elif outcome.status != 0 and not tally.failed:
        tally.fail(f"exit status {outcome.status}")
    if not tally.passed and not tally.failed:
        tally.fail("not a single test ran")


def judge(item, outcome, text):
    """What the run of one item amounts to."""
    suite = item.suite
    if suite.rows:
        return _judge_rows(item, outcome)
    if suite.read:
        tally = suite.read(text)
    else:
        tally = Tally(passed=1 if outcome.status == 0 else 0)
    _settle(item, tally, outcome)
    row = Row(suite.name, item.flavour, tally.passed, tally.failed, tally.skipped, outcome.seconds)
    return Result([row], tally.problems)


def _judge_rows(item, outcome):
    """Rows that the command made itself; it has judged its skips already."""
    try:
        rows = read_rows(rows_file(item.suite.name, item.flavour))
    except (OSError, ValueError) as e:
        rows, missing = [], f"no result: {e}"
    else:
        missing = "" if any(r.passed or r.failed for r in rows) else "not a single test ran"
    problems = [f"{row.suite}: {row.failed} failed" for row in rows if row.failed]
    problem = outcome.problem or missing
    if not problem and outcome.status != 0 and not problems:
        problem = f"exit status {outcome.status}"
    if problem:
        rows.append(Row(item.suite.name, item.flavour, failed=1, seconds=outcome.seconds))
        problems.append(problem)
    return Result(rows, problems)
