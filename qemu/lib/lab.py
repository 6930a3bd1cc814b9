# SPDX-License-Identifier: GPL-2.0-only
"""The laboratory's defects, what brings them about, and what a run of one amounts to."""

import re
from dataclasses import asdict, dataclass, field

import ktap
from console import Watcher
from common import die

# No defect: nothing may catch it.
CONTROL = "none"
DETECTORS = ("SLUB poison", "KASAN", "lockdep", "hung task", "accounting", "guest suite",
             "other checks")
# A freed object's bytes, as they stand in registers and addresses.
POISON = "6b6b6b6b6b6b6b6b"
# Bytes that were allocated and never written to (5a), as a failed assertion prints them.
UNWRITTEN = "90, 90, 90, 90"
# Free memory goes up and down by itself.
MEMORY_NOISE = 6 << 20


@dataclass(frozen=True)
class Defect:
    """`name` arms it, `test` of the guest suite brings its moment about. `must`: what has to be in
    the poison report, if something has to."""

    name: str
    test: str
    must: str = ""

    @property
    def words(self):
        """For the kernel's command line."""
        return [] if self.name == CONTROL else [f"userfaultfd_lab.defect={self.name}"]


DEFECTS = {
    d.name: d
    for d in (
        Defect("exit-walk", "lab::exit_while_the_descriptor_is_closed", must=POISON),
        Defect("early-put", "lab::close_under_a_sleeper"),
        Defect("missing-get", "lab::close_after_a_fault"),
        Defect("fork-extra-put", "events::fork::fork_message"),
        Defect("touch-after-wake", "lab::wake_of_a_thread_that_runs"),
        Defect("no-recheck", "lab::fill_before_the_fault_has_queued_up"),
        Defect("refile-window", "lab::wake_while_the_message_is_read"),
        Defect("changing-leak", "events::end::nobody_reads_and_the_program_is_killed"),
        Defect("padding-leak", "bugs::message_has_no_old_bytes"),
        Defect("early-unlock", "lab::two_fills_of_one_page"),
        Defect("vma-after-unlock", "lab::unmapping_under_a_sleeper"),
        Defect("no-flush", "lab::write_after_protection"),
        Defect("exit-waits", "lab::exit_before_a_manager_that_does_not_read"),
        Defect("eexist-leak", "lab::failed_fills_keep_no_memory"),
        Defect("lock-order", "lab::protecting_after_a_fill"),
        Defect("red-zone", "lab::contexts_stay_within_their_bounds"),
    )
}
CONTROLS = tuple(dict.fromkeys(d.test for d in DEFECTS.values()))


def defect(name):
    """Look a defect up; an unknown name lists the known ones."""
    if name not in DEFECTS:
        die(f"unknown defect '{name}', one of: {' '.join(DEFECTS)}")
    return DEFECTS[name]


_ENTRY = re.compile(r'^    \w+ = "([a-z-]+)",$', re.M)


def names_in(source):
    """The names that the kernel knows, from the text of rust/lab/mod.rs."""
    return _ENTRY.findall(source)


@dataclass
class Catch:
    """What a detector saw: in which try, and the first line of its report."""

    attempt: int
    line: str
    text: str = ""


@dataclass
class Result:
    """What came of one defect on one kernel."""

    catches: dict = field(default_factory=dict)
    attempts: int = 0

    def add(self, detector, attempt, line, text=""):
        """The first catch of a detector counts."""
        self.catches.setdefault(detector, Catch(attempt, line.strip(), text))


_TRY = re.compile(r"uffd-suite: try (\d+)$")


def by_try(console):
    """[(number of the try, its part of the console)]; 0 is what came before the first."""
    parts, number, lines = [], 0, []
    for line in console.splitlines():
        if found := _TRY.search(line):
            parts.append((number, lines))
            number, lines = int(found[1]), []
        else:
            lines.append(line)
    parts.append((number, lines))
    return [(number, "\n".join(lines) + "\n") for number, lines in parts]


def detector_of(report):
    """The detector that a report of the kernel belongs to."""
    if report.kind == "slab" or POISON in report.text():
        return "SLUB poison"
    if report.kind == "KASAN":
        return "KASAN"
    if report.kind == "lockdep" or any("suspicious RCU usage" in h for h in report.headlines):
        return "lockdep"
    if report.kind == "hung task":
        return "hung task"
    return "other checks"


def read_console(result, console):
    """Add what the kernel itself reported."""
    for attempt, part in by_try(console):
        watcher = Watcher()
        watcher.feed(part.encode())
        watcher.finish()
        for report in watcher.reports:
            # Guests panic after an oops, which is no further finding.
            if report.kind == "panic" and result.catches:
                continue
            result.add(detector_of(report), attempt, report.headlines[0], report.text())
        result.attempts = max(result.attempts, attempt)


def read_suite(result, output):
    """Add what the guest suite found, from its output over all tries."""
    for attempt, text in enumerate(output.split("KTAP version 1\n")[1:], 1):
        failed = [case for case in ktap.parse("KTAP version 1\n" + text).cases
                  if case.status == ktap.FAIL]
        if failed:
            result.add("guest suite", attempt, f"not ok {failed[0].name}: {_reason(text)}")
            if UNWRITTEN in text:
                result.add("SLUB poison", attempt, "5a 5a 5a 5a in what user space was given", text)


def _reason(text):
    """The first line that says why a test failed."""
    said = [line[2:] for line in text.splitlines()
            if line.startswith("# ") and not line.startswith(("# Linux", "# offered", "# Totals"))]
    panicked = [said[at + 1] for at, line in enumerate(said[:-1]) if "panicked at" in line]
    return (panicked or said or ["no reason given"])[0]


_ACCOUNT = re.compile(r"^(contexts|free) (\d+)$", re.M)


def read_accounts(result, output):
    """Add what is missing after the last try: the output has two accounts, or the guest died."""
    found = _ACCOUNT.findall(output)
    if len(found) != 4:
        return
    before, after = dict(found[:2]), dict(found[2:])
    contexts = int(after["contexts"]) - int(before["contexts"])
    lost = int(before["free"]) - int(after["free"])
    if contexts > 0:
        result.add("accounting", result.attempts, f"{contexts} contexts more than before")
    elif lost > MEMORY_NOISE:
        result.add("accounting", result.attempts, f"{lost >> 20} MiB less free memory than before")


def kept(which, detectors):
    """The detectors whose word counts on a kernel that has these.

    What it sees by the way is not their work on the other one. With no defect armed everything counts,
    but for memory that is missing where KASAN keeps what was freed for a while.
    """
    if which.name != CONTROL:
        return detectors
    return [name for name in DETECTORS if name != "accounting" or name in detectors]


def merge(results):
    """One result of those of several kernels."""
    merged = Result()
    for result in results:
        merged.attempts = max(merged.attempts, result.attempts)
        for detector, catch in result.catches.items():
            merged.catches.setdefault(detector, catch)
    return merged


def verdict(which, result):
    """What is wrong with a row of the matrix, or None."""
    if which.name == CONTROL:
        if result.catches:
            return f"the control is caught by: {', '.join(result.catches)}"
        return None
    if not result.catches:
        return f"{which.name}: nothing has caught it"
    poison = result.catches.get("SLUB poison")
    if which.must and (poison is None or which.must not in poison.text):
        return f"{which.name}: no poison report with {which.must}"
    return None


def table(rows):
    """The matrix for people and for Markdown: (defect, result) pairs."""
    lines = ["| defect | " + " | ".join(DETECTORS) + " |", "|---|" + "---|" * len(DETECTORS)]
    for which, result in rows:
        cells = [f"try {result.catches[d].attempt}" if d in result.catches else ""
                 for d in DETECTORS]
        lines.append(f"| `{which.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def first_lines(rows):
    """The first line of each report, as Markdown."""
    lines = ["| defect | detector | first line |", "|---|---|---|"]
    for which, result in rows:
        for detector in DETECTORS:
            if detector in result.catches:
                line = re.sub(r"\|", r"\\|", result.catches[detector].line)
                lines.append(f"| `{which.name}` | {detector} | `{line[:150]}` |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Remains:
    """A freed context, as its memory was read then: bytes, those that are poison, and some of them."""

    flavour: str
    constructor: str
    size: int
    poisoned: int
    bytes: str

    @property
    def problem(self):
        """In Rust all but the last byte have to be poison."""
        if self.flavour != "c" and self.poisoned < self.size - 1:
            return f"{self.flavour}: of {self.size} bytes of a freed context {self.poisoned} are poison"
        return None


_REMAINS = re.compile(r'^constructor "(.*)"\nremains (\d+) bytes, (\d+) poisoned\n((?:  .*\n)+)', re.M)


def read_remains(name, output):
    """What `uffd-suite --remains` printed, or None."""
    found = _REMAINS.search(output)
    return found and Remains(name, found[1], int(found[2]), int(found[3]), found[4])


def remains_table(found):
    """What poison does to a freed context on each kernel, as Markdown."""
    lines = ["| kernel | constructor | bytes of a freed context | of them poison | the first ones |",
             "|---|---|---|---|---|"]
    for one in found:
        lines.append(f"| `{one.flavour}` | {one.constructor or 'none'} | {one.size} | {one.poisoned} | "
                     f"`{one.bytes.splitlines()[0].strip()}` |")
    return "\n".join(lines)


VERSION = 1


def document(kernel, commit, tries, rows, remains=()):
    """The matrix for programs."""
    return {
        "version": VERSION, "kernel": kernel, "commit": commit, "tries": tries,
        "remains": [asdict(one) for one in remains],
        "detectors": list(DETECTORS),
        "rows": [{
            "defect": which.name, "test": which.test,
            "problem": verdict(which, result),
            "caught_by": {d: {"try": c.attempt, "line": c.line, "report": c.text}
                          for d, c in result.catches.items()},
        } for which, result in rows],
    }
