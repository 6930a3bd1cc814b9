# SPDX-License-Identifier: GPL-2.0-only
"""What happened, made from the lines of a trace: threads, contexts, and the lives of faults."""

import signal
from dataclasses import dataclass, field

import console
from study import words

# How the first thread of a scenario is called; what it starts belongs to the scenario.
ROOT = "manager"
POISON = "6b6b6b6b"


@dataclass
class Thread:
    """`states`: (from, to, one of run, ready, sleep, block) without gaps, as far as known."""

    tid: int
    name: str
    states: list = field(default_factory=list)


@dataclass
class Life:
    """What is queued, read and over: a fault or an announced event. Times with who did it."""

    ctx: int
    number: int
    thread: int
    queued: int
    fields: dict
    reads: list = field(default_factory=list)
    unreads: list = field(default_factory=list)
    done: tuple = None

    @property
    def name(self):
        return f"{self.ctx}.{self.number}"

    @property
    def read(self):
        """When it was read for good, None if it was not."""
        return self.reads[-1][0] if len(self.reads) > len(self.unreads) else None

    @property
    def how(self):
        return self.done[1] if self.done else "never"

    @property
    def end(self):
        return self.done and self.done[0]


@dataclass
class Fault(Life):
    """`woken`: (time, thread) of the first wake-up; `dropped`: (time, which lock)."""

    woken: tuple = None
    dropped: tuple = None

    @property
    def phases(self):
        """Microseconds: queued to read, read (or queued) to woken, woken to over. None: not so."""
        read, woken = self.read, self.woken and self.woken[0]
        waited = read if read is not None and (woken is None or read <= woken) else None
        before = self.queued if waited is None else waited
        return (waited and waited - self.queued, woken and woken - before,
                self.end - woken if woken and self.end is not None else None)


@dataclass
class Context:
    """`made`: (time, thread); `changing`: (from, to) while mappings were changing."""

    number: int
    made: tuple = None
    parent: int = None
    released: int = None
    freed: int = None
    changing: list = field(default_factory=list)
    since: int = None


@dataclass(frozen=True)
class Step:
    """A line that is worth telling. `about`: the thread whose fault or event it is about."""

    time: int
    thread: int
    event: str
    text: str
    ctx: int = None
    about: int = None
    # The same without addresses, to be counted by.
    short: str = ""


@dataclass
class Model:
    """All of it. `steps` in order; `notes`: (time, text) that the scenario wrote itself."""

    threads: dict = field(default_factory=dict)
    contexts: dict = field(default_factory=dict)
    faults: dict = field(default_factory=dict)
    events: dict = field(default_factory=dict)
    steps: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    anomalies: list = field(default_factory=list)

    @property
    def actors(self):
        """Numbers of the threads that did something, in the order of their first step."""
        return list(dict.fromkeys(step.thread for step in self.steps if step.event != "console"))

    @property
    def window(self):
        """From the first step to the last."""
        times = [step.time for step in self.steps]
        return (min(times), max(times)) if times else (0, 0)

    def name(self, tid):
        thread = self.threads.get(tid)
        return thread.name if thread else str(tid)


class _Builder:
    def __init__(self):
        self.model = Model()
        self._members = set()
        self._since = {}
        self._sleeping = {}
        self._pages = {}

    def line(self, line):
        thread = self._thread(line.pid, line.comm)
        handler = getattr(self, f"_{line.event}", None)
        # Most of the others' lines do not concern us.
        about = handler(line, thread) if handler else None
        if line.event.startswith("uffd_") or line.event.startswith("signal_") and about:
            self._step(line, about)

    def _step(self, line, about):
        self.model.steps.append(Step(line.time, line.pid, line.event, words.describe(line),
                                     line.fields.get("ctx"), about, words.kind(line)))

    def _thread(self, tid, name):
        thread = self.model.threads.get(tid)
        if thread is None:
            thread = self.model.threads[tid] = Thread(tid, name)
        return thread

    def _context(self, number):
        return self.model.contexts.setdefault(number, Context(number))

    def _wrong(self, text):
        self.model.anomalies.append(text)

    # Threads and what they do.

    def _state(self, tid, time, state):
        """The thread is in this state from now on, in none if it is None."""
        if tid == 0:
            return
        before = self._since.pop(tid, None)
        if before and before[0] < time and tid in self.model.threads:
            self.model.threads[tid].states.append((before[0], time, before[1]))
        if state:
            self._since[tid] = (time, state)

    def _sched_switch(self, line, _):
        f = line.fields
        letter = f["state"][0]
        state = {"R": "ready", "S": "sleep", "D": "block", "T": "sleep", "t": "sleep"}.get(letter)
        self._state(f["prev"], line.time, state)
        self._state(f["next"], line.time, "run")

    def _sched_wakeup(self, line, _):
        now = self._since.get(line.fields["pid"])
        if now and now[1] in ("sleep", "block"):
            self._state(line.fields["pid"], line.time, "ready")

    def _task_newtask(self, line, _):
        if line.pid in self._members:
            self._members.add(line.fields["pid"])
            self._thread(line.fields["pid"], line.fields["comm"])
            self._state(line.fields["pid"], line.time, "ready")

    def _task_rename(self, line, thread):
        thread.name = line.fields["name"]
        if thread.name == ROOT:
            self._members.add(line.pid)

    def _signal_generate(self, line, _):
        # That a child has ended is no part of the scene, and what others send is none either.
        target, what = line.fields["pid"], line.fields["sig"]
        inside = line.pid in self._members and target in self._members
        return target if inside and what != signal.SIGCHLD else None

    def _signal_deliver(self, line, _):
        inside = line.pid in self._members and line.fields["sig"] != signal.SIGCHLD
        return line.pid if inside else None

    def _tracing_mark_write(self, line, _):
        self.model.notes.append((line.time, line.fields["text"]))

    def _console(self, line, _):
        text = line.fields["text"]
        if POISON in text or any(pattern.search(text) for _, pattern in console.PATTERNS):
            self.model.reports.append((line.time, text))
            self.model.steps.append(Step(line.time, line.pid, "console", text))

    # Contexts.

    def _uffd_ctx_create(self, line, _):
        self._context(line.fields["ctx"]).made = (line.time, line.pid)

    def _uffd_ctx_dup(self, line, _):
        made = self._context(line.fields["ctx"])
        made.made, made.parent = (line.time, line.pid), line.fields["parent"]

    def _uffd_ctx_release(self, line, _):
        self._context(line.fields["ctx"]).released = line.time

    def _uffd_ctx_free(self, line, _):
        self._context(line.fields["ctx"]).freed = line.time

    def _uffd_changing(self, line, _):
        ctx = self._context(line.fields["ctx"])
        if line.fields["count"] and ctx.since is None:
            ctx.since = line.time
        elif not line.fields["count"] and ctx.since is not None:
            ctx.changing.append((ctx.since, line.time))
            ctx.since = None

    # Faults and events.

    def _queue(self, line, lives, kind, key):
        f = line.fields
        self._context(f["ctx"])
        life = kind(f["ctx"], f[key], line.pid, line.time, f)
        lives[f["ctx"], f[key]] = life
        return life

    def _known(self, line, lives, key):
        """The life that a line is about; without one, the trace is wrong."""
        life = lives.get((line.fields["ctx"], line.fields[key]))
        what = f"{key} {line.fields['ctx']}.{line.fields[key]}"
        if life is None:
            self._wrong(f"{what}: {line.event.rpartition('_')[2]}, but never queued")
        elif life.done:
            self._wrong(f"{what}: {line.event.rpartition('_')[2]} after it was over")
        return life

    def _take(self, line, lives, key):
        life = self._known(line, lives, key)
        if life is None:
            return None
        if len(life.reads) > len(life.unreads):
            self._wrong(f"{key} {life.name}: read twice")
        life.reads.append((line.time, line.pid))
        return life.thread

    def _untake(self, line, lives, key):
        life = self._known(line, lives, key)
        if life:
            life.unreads.append((line.time, line.pid))
        return life and life.thread

    def _finish(self, line, lives, key):
        life = self._known(line, lives, key)
        if life:
            life.done = (line.time, line.fields["how"])
            if life.thread != line.pid:
                self._wrong(f"{key} {life.name}: over in {line.comm}, which did not start it")
        return life and life.thread

    def _uffd_fault_queue(self, line, _):
        self._sleeping[line.pid] = self._queue(line, self.model.faults, Fault, "fault")
        self._pages[self._page(line)] = line.pid
        return line.pid

    @staticmethod
    def _page(line):
        return line.fields["ctx"], line.fields["address"] & -words.PAGE

    def _alone(self, line, _):
        """The thread that a request for one page is for, if one sleeps there."""
        f = line.fields
        return self._pages.get((f["ctx"], f["start"])) if f["len"] == words.PAGE else None

    _uffd_resolve = _uffd_wake = _alone

    def _uffd_lock_drop(self, line, _):
        fault = self._sleeping.get(line.pid)
        if fault and not fault.done and not fault.dropped:
            fault.dropped = (line.time, line.fields["what"])
        return line.pid

    def _uffd_fault_read(self, line, _):
        return self._take(line, self.model.faults, "fault")

    def _uffd_fault_unread(self, line, _):
        return self._untake(line, self.model.faults, "fault")

    def _uffd_fault_wake(self, line, _):
        fault = self._known(line, self.model.faults, "fault")
        if fault and not fault.woken:
            fault.woken = (line.time, line.pid)
        return fault and fault.thread

    def _uffd_fault_done(self, line, _):
        if self._pages.get(self._page(line)) == line.pid:
            del self._pages[self._page(line)]
        return self._finish(line, self.model.faults, "fault")

    def _uffd_event_queue(self, line, _):
        self._queue(line, self.model.events, Life, "event")
        return line.pid

    def _uffd_event_read(self, line, _):
        return self._take(line, self.model.events, "event")

    def _uffd_event_unread(self, line, _):
        return self._untake(line, self.model.events, "event")

    def _uffd_event_done(self, line, _):
        return self._finish(line, self.model.events, "event")

    def finish(self, trace):
        model, end = self.model, trace.lines[-1].time if trace.lines else 0
        for tid in list(self._since):
            self._state(tid, end, None)
        for ctx in model.contexts.values():
            if ctx.since is not None:
                ctx.changing.append((ctx.since, end))
                self._wrong(f"context {ctx.number}: mappings are still changing at the end")
            if ctx.made and ctx.freed is None:
                self._wrong(f"context {ctx.number}: never given back")
        for kind, lives in (("fault", model.faults), ("event", model.events)):
            for life in lives.values():
                if not life.done:
                    self._wrong(f"{kind} {life.name} of {model.name(life.thread)}: never over")
        for fault in model.faults.values():
            if fault.how == "woken" and not fault.woken:
                self._wrong(f"fault {fault.name}: woken, but by nobody")
        if trace.lost:
            self._wrong(f"the kernel dropped {trace.lost:,} lines: the trace has holes")
        for line in trace.unreadable[:5]:
            self._wrong(f"a line that cannot be read: {line.strip()}")
        if len(trace.unreadable) > 5:
            self._wrong(f"{len(trace.unreadable) - 5:,} more lines that cannot be read")
        for _, text in model.reports[:1]:
            self._wrong(f"the kernel reported: {text}")
        return model


def build(trace):
    """The Model of a Trace."""
    builder = _Builder()
    for line in trace.lines:
        builder.line(line)
    return builder.finish(trace)
