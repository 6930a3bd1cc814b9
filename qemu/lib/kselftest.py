# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own selftests: which ones we run, and what counts as a pass."""

import fnmatch
import tomllib
from dataclasses import dataclass

import ktap
from common import die
from summary import Tally

# What a flavour may set differently.
OVERRIDES = {"runs", "mem", "smp", "hugepages", "swap", "timeout", "expect"}
KEYS = OVERRIDES | {"name", "skip", "flavour"}


@dataclass(frozen=True)
class Skip:
    """Tests that may be skipped, and why. No flavours = all of them."""

    tests: tuple
    reason: str
    flavours: tuple

    def covers(self, case, flavour):
        in_flavour = not self.flavours or flavour in self.flavours
        return in_flavour and any(fnmatch.fnmatchcase(case.name, t) for t in self.tests)


@dataclass(frozen=True)
class Program:
    """One selftest program. Each of `runs` is an argument list and gets a boot of its own."""

    name: str
    expect: int
    timeout: int
    runs: tuple = ((),)
    mem: str = "2G"
    smp: int = 2
    hugepages: int = 0
    swap: str = ""
    skip: tuple = ()

    def title(self, run):
        """Name of one run, for logs and messages."""
        return " ".join((self.name, *run[:1])) if len(self.runs) > 1 else self.name


def _need(condition, text):
    if not condition:
        die(f"kselftest.toml: {text}")


def _skip(entry, program):
    _need(set(entry) <= {"tests", "reason", "flavours"}, f"{program}: unknown key in skip")
    _need(entry.get("tests"), f"{program}: a skip without tests")
    _need(entry.get("reason"), f"{program}: a skip without a reason")
    return Skip(tuple(entry["tests"]), entry["reason"], tuple(entry.get("flavours", ())))


def _program(entry, flavour):
    name = entry.get("name")
    _need(name, "a program without a name")
    unknown = set(entry) - KEYS
    _need(not unknown, f"{name}: unknown key {', '.join(sorted(unknown))}")
    _need("expect" in entry and "timeout" in entry, f"{name}: expect and timeout are needed")
    values = {k: v for k, v in entry.items() if k not in ("flavour", "skip")}
    own = entry.get("flavour", {}).get(flavour, {})
    _need(set(own) <= OVERRIDES, f"{name}: unknown key for flavour {flavour}")
    values.update(own)
    if "runs" in values:
        values["runs"] = tuple(tuple(run) for run in values["runs"])
    return Program(skip=tuple(_skip(s, name) for s in entry.get("skip", ())), **values)


def load(text, flavour):
    """The programs of one flavour; anything odd in the file is an error, not a default."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        die(f"kselftest.toml: {e}")
    programs = [_program(entry, flavour) for entry in data.get("program", ())]
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


def judge(program, flavour, runs):
    """One tally over all runs of a program."""
    tally = Tally()
    used = set()
    for run in runs:
        _judge_run(program, flavour, run, tally, used)
    if tally.passed < program.expect:
        tally.fail(f"{tally.passed} passed, at least {program.expect} are expected")
    return tally, [s for s in program.skip
                   if s not in used and (not s.flavours or flavour in s.flavours)]


def _judge_run(program, flavour, run, tally, used):
    report = ktap.parse(run.text)
    before = tally.failed
    for case in report.cases:
        if case.status == ktap.PASS:
            tally.passed += 1
        elif case.status == ktap.FAIL:
            tally.fail(f"{run.title}: not ok: {case.name}")
        else:
            allowed = [s for s in program.skip if s.covers(case, flavour)]
            used.update(allowed)
            if allowed:
                tally.skipped += 1
            else:
                why = f" ({case.reason})" if case.reason and case.reason != case.name else ""
                tally.fail(f"{run.title}: skipped, and not on the list: {case.name}{why}")
    for error in report.errors:
        tally.fail(f"{run.title}: {error}")
    if run.problem:
        tally.fail(f"{run.title}: {run.problem}")
    elif run.status != 0 and tally.failed == before:
        tally.fail(f"{run.title}: exit status {run.status} although no test failed")
