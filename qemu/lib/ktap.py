# SPDX-License-Identifier: GPL-2.0-only
"""Reads KTAP and TAP 13: counts the leaves of nested results and reports whatever is malformed.

The dialect of the kernel's selftests is accepted too: no version line, "# SKIP" before the name, XFAIL.
"""

import re
from dataclasses import dataclass, field

PASS, FAIL, SKIP = "passed", "failed", "skipped"

_RESULT = re.compile(r"(?P<not>not )?ok\s+(?P<number>\d+)(?:\s+(?P<rest>.*))?$")
_UNNUMBERED = re.compile(r"(not )?ok(\s*$|\s+- )")
_VERSION = re.compile(r"K?TAP version \d+$")
_PLAN = re.compile(r"1\.\.(?P<count>\d+)\s*(?:#\s*(?P<skip>SKIP\b.*))?$", re.I)
_DIRECTIVE = re.compile(
    r"(?P<name>.*?)(?:^|\s)#\s*(?P<word>SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR)\b:?\s*(?P<reason>.*)$",
    re.I,
)
_STAMP = re.compile(r"^\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")


@dataclass
class Case:
    """One leaf result. `name` holds the names of the tests around it, joined by "/"."""

    name: str
    status: str
    reason: str = ""


@dataclass
class Report:
    """All leaves in order, and what was wrong with the stream itself."""

    cases: list = field(default_factory=list)
    errors: list = field(default_factory=list)

    def count(self, status):
        return sum(1 for case in self.cases if case.status == status)

    @property
    def passed(self):
        return self.count(PASS)

    @property
    def failed(self):
        """Failed tests; each malformed place counts as one more."""
        return self.count(FAIL) + len(self.errors)

    @property
    def skipped(self):
        return self.count(SKIP)


@dataclass
class _Block:
    """The results of one indentation level, from its header to the parent's result."""

    indent: int
    plan: int = None
    number: int = 0
    cases: list = field(default_factory=list)
    below: list = field(default_factory=list)

    @property
    def started(self):
        return self.plan is not None or self.number > 0


def strip_console(text):
    """Kernel log lines without their time stamps, starting at the first KTAP header."""
    lines = [_STAMP.sub("", line.rstrip("\r")) for line in text.split("\n")]
    for at, line in enumerate(lines):
        if _VERSION.match(line.strip()):
            return "\n".join(lines[at:])
    return ""


def _verdict(failed, word, reason):
    """Status of one result line under its directive."""
    word = word.upper()
    if word == "SKIP":
        # "not ok # SKIP" is a failure that somebody wished away.
        return FAIL if failed else SKIP
    if word == "TODO":
        return SKIP if failed else PASS
    if word == "XFAIL":
        return PASS
    return FAIL if failed or word else PASS


class _Parser:
    def __init__(self):
        self.report = Report()
        self.stack = []
        self.bailed = False

    def error(self, text):
        self.report.errors.append(text)

    def _finish(self, block):
        """Check a block that ends here."""
        where = f"level {len(self.stack)}: " if self.stack else ""
        if block.below:
            self.error(f"{where}subtests without their parent's result")
            block.cases.extend(block.below)
            block.below = []
        if block.plan is None:
            self.error(f"{where}no plan line")
        elif block.plan != block.number:
            self.error(f"{where}plan says {block.plan} tests, {block.number} reported")

    def _block(self, indent):
        """The block at `indent`; deeper ones end and become subtests of its next result."""
        while self.stack and self.stack[-1].indent > indent:
            block = self.stack.pop()
            self._finish(block)
            if self.stack and self.stack[-1].indent >= indent:
                self.stack[-1].below.extend(block.cases)
            else:
                # The parent has printed nothing yet: its block starts now.
                self.stack.append(_Block(indent, below=block.cases))
        if not self.stack or self.stack[-1].indent < indent:
            self.stack.append(_Block(indent))
        return self.stack[-1]

    def _result(self, block, match):
        number = int(match["number"])
        block.number += 1
        if number != block.number:
            self.error(f"result number {number} where {block.number} was expected")
            block.number = number
        rest = (match["rest"] or "").strip()
        directive = _DIRECTIVE.match(rest)
        word, reason = (directive["word"], directive["reason"]) if directive else ("", "")
        name = (directive["name"] if directive else rest).strip().removeprefix("- ").strip()
        name = name or reason or f"test {number}"
        status = _verdict(bool(match["not"]), word, reason)
        below, block.below = block.below, []
        for case in below:
            case.name = f"{name}/{case.name}"
        block.cases.extend(below)
        # A parent adds a case of its own only when its children do not explain its status.
        if not below or (status == FAIL and all(case.status != FAIL for case in below)):
            block.cases.append(Case(name, status, reason))

    def line(self, raw):
        text = raw.expandtabs(8).rstrip()
        body = text.lstrip()
        indent = len(text) - len(body)
        if body.startswith("Bail out!"):
            self.bailed = True
            self.error(body)
        elif _VERSION.match(body):
            if self._block(indent).started:
                self.error("a second header at the same level")
        elif match := _PLAN.match(body):
            block = self._block(indent)
            if block.plan is not None:
                self.error("a second plan at the same level")
            block.plan = int(match["count"])
            if block.plan == 0 and match["skip"]:
                block.cases.append(Case("all", SKIP, match["skip"]))
        elif match := _RESULT.match(body):
            self._result(self._block(indent), match)
        elif _UNNUMBERED.match(body):
            self.error(f"result without a number: {body}")

    def end(self):
        """Close what is open. After a bail-out the missing rest is not reported again."""
        known = len(self.report.errors)
        if self.stack:
            self._block(0)
            top = self.stack.pop()
            self._finish(top)
            self.report.cases = top.cases
        if self.bailed:
            del self.report.errors[known:]
        if not self.report.cases and not self.report.errors:
            self.error("no test results")
        return self.report


def parse(text):
    """Parse the output of one program. Lines that are not KTAP are ignored."""
    parser = _Parser()
    # Only a newline ends a line: splitlines() would also split at form feeds in test output.
    for raw in text.split("\n"):
        parser.line(raw.rstrip("\r"))
    return parser.end()


def text(checks):
    """[(what is checked, whether it holds)] as test results."""
    lines = ["KTAP version 1", f"1..{len(checks)}"]
    # What is checked may quote anything; a "#" would begin a directive.
    lines += [f"{'ok' if holds else 'not ok'} {number} {' '.join(about.split()).replace('#', '%')}"
              for number, (about, holds) in enumerate(checks, 1)]
    return "\n".join(lines)
