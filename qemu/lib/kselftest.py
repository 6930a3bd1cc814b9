# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own selftests: which ones we run, and what counts as a pass."""

import fnmatch
import tomllib
from dataclasses import dataclass, field

import ktap
from common import die
from summary import Tally

LISTS = ("skip", "fail")
KEYS = {"name", "runs", "mem", "smp", "hugepages", "swap", "append", "timeout", "expect", *LISTS}


@dataclass(frozen=True)
class Program:
    """One selftest program. Each of `runs` is an argument list and gets a boot of its own.

    `skip` and `fail`: {test: reason} for what must do that on this flavour.
    """

    name: str
    expect: int
    timeout: int
    runs: tuple = ((),)
    mem: str = "2G"
    smp: int = 2
    hugepages: int = 0
    swap: str = ""
    append: str = ""
    skip: dict = field(default_factory=dict)
    fail: dict = field(default_factory=dict)

    def title(self, run):
        """Name of one run, for logs and messages."""
        return " ".join((self.name, *run[:1])) if len(self.runs) > 1 else self.name


def _need(condition, text):
    if not condition:
        die(f"kselftest.toml: {text}")


def _listed(entries, program, kind, flavour):
    """({test: reason} on this flavour, how many of them are not on every flavour)."""
    found, fewer = {}, 0
    for entry in entries:
        _need(set(entry) <= {"tests", "reason", "flavours"}, f"{program}: unknown key in {kind}")
        _need(entry.get("tests"), f"{program}: a {kind} without tests")
        _need(entry.get("reason"), f"{program}: a {kind} without a reason")
        if fnmatch.fnmatchcase(flavour, entry.get("flavours", "*")):
            for test in entry["tests"]:
                _need(test not in found, f"{program}: {test} is listed twice")
                found[test] = entry["reason"]
            fewer += len(entry["tests"]) if "flavours" in entry else 0
    return found, fewer


def _program(entry, flavour, slower):
    name = entry.get("name")
    _need(name, "a program without a name")
    unknown = set(entry) - KEYS
    _need(not unknown, f"{name}: unknown key {', '.join(sorted(unknown))}")
    _need("expect" in entry and "timeout" in entry, f"{name}: expect and timeout are needed")
    values = dict(entry)
    for kind in LISTS:
        values[kind], fewer = _listed(entry.get(kind, ()), name, kind, flavour)
        values["expect"] -= fewer
    values["timeout"] *= slower
    if "runs" in values:
        values["runs"] = tuple(tuple(run) for run in values["runs"])
    return Program(**values)


def load(text, flavour):
    """The programs of one flavour; anything odd in the file is an error, not a default."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        die(f"kselftest.toml: {e}")
    _need(set(data) <= {"program", "slower"}, "unknown table, one of: program slower")
    slower = data.get("slower", {})
    _need(all(type(factor) is int and factor > 0 for factor in slower.values()),
          "slower: a factor is a whole number")
    factor = max((factor for pattern, factor in slower.items()
                  if fnmatch.fnmatchcase(flavour, pattern)), default=1)
    programs = [_program(entry, flavour, factor) for entry in data.get("program", ())]
    names = [p.name for p in programs]
    _need(programs, "no programs")
    _need(len(set(names)) == len(names), "a program is listed twice")
    return programs


def select(programs, names):
    """Only the named programs; an unknown name is an error."""
    known = [p.name for p in programs]
    for name in names:
        if name not in known:
            die(f"unknown program {name}; there are: {', '.join(known)}")
    return [p for p in programs if not names or p.name in names]


@dataclass
class Run:
    """How one boot of a program ended."""

    title: str
    text: str
    status: int
    problem: str = ""


def judge(program, runs):
    """One tally over all runs of a program. Listed failures are counted as skipped."""
    tally = Tally()
    seen = {kind: set() for kind in LISTS}
    for run in runs:
        _judge_run(program, run, tally, seen)
    if not tally.failed:
        # After a failure, a listed test may not have been reached.
        for kind, word in (("skip", "skipped"), ("fail", "failing")):
            for name in sorted(getattr(program, kind).keys() - seen[kind]):
                tally.fail(f"listed as {word}, but it is not: {name}")
    if tally.passed < program.expect:
        tally.fail(f"{tally.passed} passed, at least {program.expect} are expected")
    return tally


def _judge_run(program, run, tally, seen):
    report = ktap.parse(run.text)
    before = tally.failed
    excused = False
    for case in report.cases:
        if case.status == ktap.PASS:
            tally.passed += 1
        elif case.status == ktap.SKIP and case.name in program.skip:
            seen["skip"].add(case.name)
            tally.skipped += 1
        elif case.status == ktap.SKIP:
            why = f" ({case.reason})" if case.reason and case.reason != case.name else ""
            tally.fail(f"{run.title}: skipped, and not on the list: {case.name}{why}")
        elif case.name in program.fail:
            seen["fail"].add(case.name)
            tally.skipped += 1
            excused = True
        else:
            tally.fail(f"{run.title}: not ok: {case.name}")
    for error in report.errors:
        tally.fail(f"{run.title}: {error}")
    if run.problem:
        tally.fail(f"{run.title}: {run.problem}")
    # Not every program counts all of its failures into its status.
    elif run.status not in ((0, 1) if excused else (0,)) and tally.failed == before:
        what = "only listed tests failed" if excused else "no test failed"
        tally.fail(f"{run.title}: exit status {run.status} although {what}")
