# SPDX-License-Identifier: GPL-2.0-only
"""Reads the text that tracefs gives: who, where, when, which tracepoint, and its fields."""

import re
from dataclasses import dataclass, field

# The fields that each tracepoint of ours has, in order; include/trace/events/userfaultfd.h.
FIELDS = {
    "uffd_ctx_create": "ctx flags",
    "uffd_ctx_dup": "ctx parent",
    "uffd_ctx_release": "ctx",
    "uffd_ctx_free": "ctx",
    "uffd_register": "ctx start len modes ret",
    "uffd_unregister": "ctx start len ret",
    "uffd_fault_queue": "ctx fault address flags reason",
    "uffd_fault_refused": "ctx address why",
    "uffd_fault_read": "ctx fault address",
    "uffd_fault_unread": "ctx fault address",
    "uffd_fault_wake": "ctx fault address",
    "uffd_fault_done": "ctx fault address how",
    "uffd_wake": "ctx start len woken",
    "uffd_resolve": "ctx kind start len mode ret",
    "uffd_eagain": "ctx kind why",
    "uffd_event_queue": "ctx event kind arg0 arg1 arg2",
    "uffd_event_read": "ctx event",
    "uffd_event_unread": "ctx event",
    "uffd_event_done": "ctx event how",
    "uffd_changing": "ctx count",
    "uffd_lock_drop": "ctx what address",
}
_OURS = {
    name: re.compile(" ".join(rf"{key}=(?P<{key}>\S+)" for key in keys.split()))
    for name, keys in FIELDS.items()
}
# Those of others, as far as they are of use.
_OTHERS = {
    "sched_switch": r"prev_comm=.*? prev_pid=(?P<prev>\d+) prev_prio=\d+ prev_state=(?P<state>\S+)"
                    r" ==> next_comm=.*? next_pid=(?P<next>\d+) next_prio=\d+",
    "sched_wakeup": r"comm=.*? pid=(?P<pid>\d+) prio=\d+ target_cpu=\d+",
    "sched_process_exit": r"comm=.*? pid=(?P<pid>\d+) prio=\d+(?: .*)?",
    "task_newtask": r"pid=(?P<pid>\d+) comm=(?P<comm>.*?) clone_flags=(?P<flags>[0-9a-f]+) .*",
    "task_rename": r"(?:pid=(?P<pid>\d+) )?oldcomm=.*? newcomm=(?P<name>.*?) oom_score_adj=.*",
    "signal_generate": r"sig=(?P<sig>\d+) .*? comm=.*? pid=(?P<pid>\d+) .*",
    "signal_deliver": r"sig=(?P<sig>\d+) .*",
    "tracing_mark_write": r"study: (?P<text>.*)",
    "console": r"(?P<text>.*)",
}
_OTHERS = {name: re.compile(pattern) for name, pattern in _OTHERS.items()}
_HEXADECIMAL = {("task_newtask", "flags")}
_TEXT = {("console", "text"), ("tracing_mark_write", "text"), ("task_rename", "name"),
         ("task_newtask", "comm"), ("sched_switch", "state")}

_LINE = re.compile(
    r"\s*(?P<comm>.+)-(?P<pid>\d+)\s+(?:\([ \d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:[^\s\d:]\S*\s+)?"
    r"(?P<seconds>\d+)\.(?P<micros>\d{6}):\s+(?P<event>\w+):\s?(?P<rest>.*)")
# The kernel's last words: names are cut, and times count from the start of the trace.
_DUMPED = re.compile(
    r"\s*(?P<comm>.+)-(?P<pid>\d+)\s+(?P<cpu>\d+)[^\s\d:]\S*\s+(?P<micros>\d+)us.?\s*:\s+"
    r"(?P<event>\w+):\s?(?P<rest>.*)")
_STAMP = re.compile(r"^\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")
DUMP, _DUMP_RULE = "Dumping ftrace buffer:", "-" * 20
_COUNTS = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")
_LOST = re.compile(r"CPU:\d+ \[LOST (\d+) EVENTS\]")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)$")


@dataclass(frozen=True)
class Line:
    """One line. `time` in microseconds of CLOCK_MONOTONIC; `pid` is a thread's number."""

    comm: str
    pid: int
    cpu: int
    time: int
    event: str
    fields: dict


@dataclass
class Trace:
    """All lines in order, those that could not be read, and how many the kernel had to drop."""

    lines: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)
    lost: int = 0


def _value(event, key, text):
    if (event, key) in _TEXT or text is None:
        return text
    if (event, key) in _HEXADECIMAL:
        return int(text, 16)
    return int(text, 0) if _NUMBER.match(text) else text


def _fields(event, rest):
    """The fields of a line, None if they are not as they should be."""
    pattern = _OURS.get(event) or _OTHERS.get(event)
    if pattern is None:
        # Tracepoints of somebody else that were on, too.
        return None if event.startswith("uffd_") else {}
    found = pattern.fullmatch(rest)
    return found and {key: _value(event, key, text) for key, text in found.groupdict().items()}


def parse(text):
    """The Trace of a file's text."""
    trace = Trace()
    for raw in text.splitlines():
        if counts := _COUNTS.match(raw):
            trace.lost += int(counts[2]) - int(counts[1])
        if lost := _LOST.match(raw):
            trace.lost += int(lost[1])
        elif raw.strip() and not raw.startswith("#"):
            found = _LINE.fullmatch(raw) or _DUMPED.fullmatch(raw)
            fields = found and _fields(found["event"], found["rest"].rstrip())
            if fields is None:
                trace.unreadable.append(raw)
                continue
            seconds = int(found.groupdict().get("seconds", 0))
            time = seconds * 1_000_000 + int(found["micros"])
            trace.lines.append(Line(found["comm"].strip(), int(found["pid"]), int(found["cpu"]),
                                    time, found["event"], fields))
    return trace


def dumped(text):
    """The lines of the trace that a kernel printed to its console before it died."""
    lines, rules = None, 0
    for raw in text.splitlines():
        bare = _STAMP.sub("", raw)
        if bare.startswith(DUMP):
            lines, rules = [], 0
        elif lines is not None and bare.startswith(_DUMP_RULE):
            rules += 1
            if rules == 2:
                break
        elif lines is not None and rules == 1:
            lines.append(bare)
    return "".join(f"{line}\n" for line in lines or ())
