# SPDX-License-Identifier: GPL-2.0-only
"""Reads a kernel's console and cuts out the reports that say something is wrong with the kernel."""

import re
from collections import deque
from dataclasses import dataclass

LINES_BEFORE = 4
LINES_MAX = 120
# A report is printed in one go: a line this many seconds later belongs to something else.
GAP_SECONDS = 3.0

# The first pattern that matches names the report. All are searched in a line without its timestamp.
PATTERNS = [
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("panic", r"^Kernel panic - not syncing"),
        ("oops", r"^Oops\b|^Internal error: Oops|general protection fault|^double fault|"
                 r"^stack segment: |^invalid opcode: |[uU]nable to handle kernel|"
                 r"^BUG: kernel NULL pointer|^BUG: unable to handle"),
        ("rust panic", r"^rust_kernel: panicked at"),
        ("KASAN", r"BUG: KASAN: |^KASAN: |kasan: bug report"),
        ("KFENCE", r"BUG: KFENCE: "),
        ("KCSAN", r"BUG: KCSAN: "),
        ("UBSAN", r"\bUBSAN: "),
        ("lockdep", r"possible circular locking|inconsistent lock state|possible recursive locking|"
                    r"lock inversion dependency|-safe -> .*-unsafe lock order|bad unlock balance|"
                    r"lock held when returning to user|Nested lock was not taken|"
                    r"Invalid wait context|INFO: trying to register non-static key|"
                    r"DEBUG_LOCKS_WARN_ON|held lock freed|still has locks held"),
        ("RCU", r"suspicious RCU usage|Illegal context switch in RCU|"
                r"rcu.*detected.* stalls?\b|rcu.*self-detected stall|rcu.*kthread starved"),
        ("lockup", r"soft lockup|hard LOCKUP|Watchdog detected"),
        ("hung task", r"INFO: task .* blocked (?:on .*)?for more than|"
                      r"INFO: task .* blocked in I/O wait for more than"),
        ("leak", r"unreferenced object 0x|kmemleak: \d+ new suspected"),
        ("page table", r"Bad page state|Bad page map|Bad rss-counter|non-zero pgtables_bytes|"
                       r"Bad swap (?:file|offset) entry"),
        ("slab", r"^BUG \S+.*\((?:Not t|T)ainted|^Slab corruption|^slab error in"),
        ("list", r"list_(?:add|del) corruption|refcount_t: "),
        ("BUG", r"\bBUG: |kernel BUG at "),
        ("WARNING", r"(?<!\S)WARNING: "),
    )
]
_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\](?:\[\s*[TC]\d+\])? ?")
_TASK = re.compile(r"^task:.*\btgid:(\d+) +ppid:(\d+)")
_FRAME = re.compile(r"^ (?:\? )?[\w.]+\+0x")
_END = re.compile(r"---\[ end |^={20,}$")


@dataclass
class Report:
    """One report: what it is, its telling lines, and the part of the console around them."""

    kind: str
    headlines: list
    lines: list
    allowed: bool = False
    cut: bool = False

    def text(self):
        """The part of the console, ready to be printed."""
        more = ["... (longer, see the console's log)"] if self.cut else []
        return "\n".join(self.lines + more)


class Watcher:
    """Collects the reports of a console that arrives piece by piece.

    `allow`: regular expressions. A report counts as expected only when each of its telling lines is
    matched by one of them, so that a panic that follows an expected warning is still a failure.
    """

    def __init__(self, allow=()):
        self._allow = [re.compile(pattern) for pattern in allow]
        self._before = deque(maxlen=LINES_BEFORE)
        self._rest = b""
        self._open = None
        self._time = 0.0
        self.reports = []
        self.panicked = False

    def feed(self, data):
        """Take the next bytes of the console. Returns the complete lines among them."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        for text in texts:
            self._line(text)
        return texts

    def finish(self):
        """The console has ended: an unfinished last line counts too."""
        if self._rest:
            self.feed(b"\n")
        self._close()

    def bad(self):
        """The reports that nobody allowed."""
        return [report for report in self.reports if not report.allowed]

    def _line(self, text):
        stamp = _STAMP.match(text)
        bare = text[stamp.end():] if stamp else text
        now = float(stamp.group(1)) if stamp else self._time
        if self._open and now - self._time > GAP_SECONDS:
            self._close()
        self._time = now

        kind = next((kind for kind, pattern in PATTERNS if pattern.search(bare)), None)
        if kind == "panic":
            self.panicked = True
        if not self._open and kind:
            self._open = Report(kind, [], list(self._before))
        if not self._open:
            self._before.append(text)
            return

        report = self._open
        report.lines.append(text)
        if kind:
            report.headlines.append(bare)
        if _END.search(bare):
            self._close()
        elif len(report.lines) >= LINES_MAX:
            report.cut = True
            self._close()

    def _close(self):
        report, self._open = self._open, None
        if report is None:
            return
        report.allowed = all(
            any(pattern.search(line) for pattern in self._allow) for line in report.headlines
        )
        self.reports.append(report)
        self._before.clear()


def user_tasks(lines):
    """From the kernel's list of all tasks: those of programs, and where in the kernel they are."""
    found, wanted = [], False
    for text in lines:
        bare = _STAMP.sub("", text)
        if task := _TASK.match(bare):
            tgid, parent = int(task[1]), int(task[2])
            wanted = tgid > 2 and parent != 2
            if wanted:
                found.append(bare)
        elif wanted and _FRAME.match(bare):
            found.append(bare)
    return found
