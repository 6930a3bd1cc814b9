# SPDX-License-Identifier: GPL-2.0-only
"""The picture in which time runs from left to right: a lane for each thread and each context."""

from study.chart import Axis, Chart
from study.text import PHASES, reason
from study.words import duration

WIDTH = 1200
_LEFT = 132
_ROW = 30
_TOP = 26
_CROWD_HEIGHT = 110
_RASTER_HEIGHT = 300
_STATES = {"run": "on a processor", "ready": "waiting for a processor", "sleep": "asleep",
           "block": "asleep, and no ordinary signal wakes it"}
# (class, what it is) of the three phases of a fault and the two of an event.
FAULT = ("unread", "read", "woken")
EVENT = ("announced", "heard")


def pieces(life):
    """(class, from, to) of the phases that a fault or event went through."""
    end = life.end
    times = [(FAULT[0] if hasattr(life, "woken") else EVENT[0], life.queued)]
    if life.read is not None:
        times.append((FAULT[1] if hasattr(life, "woken") else EVENT[1], life.read))
    if getattr(life, "woken", None):
        times.append((FAULT[2], life.woken[0]))
    times.sort(key=lambda piece: piece[1])
    ends = [time for _, time in times[1:]] + [end]
    return [(cls, start, stop) for (cls, start), stop in zip(times, ends)]


def fault_title(model, fault):
    """All that is known of a fault."""
    lines = [f"fault {fault.name} of {model.name(fault.thread)} at "
             f"{fault.fields['address']:#x} ({reason(fault)})"]
    lines += [f"{phase}: {duration(time)}" for phase, time in zip(PHASES, fault.phases)]
    return "\n".join([*lines, f"over: {fault.how}"])


class _Overview:
    def __init__(self, model, cast):
        self.model, self.cast = model, cast
        self.chart = Chart(WIDTH)
        self.start, self.end = model.window
        self.axis = Axis([step.time for step in model.steps], _LEFT, WIDTH - _LEFT - 12)
        self.bottom = _TOP + _ROW * len(cast.lanes)

    def when(self, time):
        return duration(time - self.start)

    def draw(self):
        for place, lane in enumerate(self.cast.lanes):
            top = _TOP + place * _ROW
            self.chart.bar(_LEFT, WIDTH - 8, top, top + _ROW - 1, f"lane{place % 2}")
            self.chart.text(_LEFT - 10, top + 19, lane.name, "name", "end")
            if lane.key[0] == "ctx":
                self._context(self.model.contexts[lane.key[1]], top)
            else:
                self._thread(lane.key[1], top)
        if self.cast.hidden:
            self._crowd()
        self._notes()
        self._axis()
        return self.chart

    def _context(self, ctx, top):
        x = self.axis.x
        begin = ctx.made[0] if ctx.made else self.start
        end = ctx.freed or self.end
        title = f"context {ctx.number}: made {self.when(begin)}"
        if ctx.released:
            title += f", closed {self.when(ctx.released)}"
        title += f", given back {self.when(ctx.freed)}" if ctx.freed else ", never given back"
        self.chart.bar(x(begin), x(end), top + 11, top + 18, "context", title)
        for since, until in ctx.changing:
            self.chart.bar(x(since), x(until), top + 7, top + 22, "changing",
                           f"mappings are changing for {duration(until - since)}")

    def _thread(self, tid, top):
        for since, until, state in self.model.threads[tid].states if tid in self.model.threads else ():
            since, until = max(since, self.start), min(until, self.end)
            if since < until:
                self.chart.bar(self.axis.x(since), self.axis.x(until), top + 24, top + 28,
                               f"cpu {state}", f"{_STATES[state]} for {duration(until - since)}")
        for lives in (self.model.faults, self.model.events):
            for life in lives.values():
                if life.thread == tid:
                    self._life(life, top + 5, top + 22)
        for step in self.model.steps:
            if step.thread == tid and step.event not in ("uffd_fault_queue", "uffd_fault_done"):
                at = self.axis.x(step.time)
                cls = "drop" if step.event == "uffd_lock_drop" else \
                      "report" if step.event == "console" else "act"
                self.chart.bar(at - 1, at + 1, top + 3, top + 23, cls,
                               f"{self.when(step.time)}: {step.text}")

    def _life(self, life, top, bottom):
        if hasattr(life, "woken"):
            title = fault_title(self.model, life)
        else:
            title = f"event {life.name}: {life.fields['kind']}, {life.how}"
        for cls, start, stop in pieces(life):
            stop = self.end if stop is None else stop
            self.chart.bar(self.axis.x(start), self.axis.x(stop), top, bottom, cls,
                           f"{title}\nhere: {duration(stop - start)}")

    def _crowd(self):
        """How many sleep, by what they wait for; and a thin line for each."""
        hidden = set(self.cast.hidden)
        faults = [fault for fault in self.model.faults.values() if fault.thread in hidden]
        top = self.bottom + 8
        self.chart.text(_LEFT - 10, top + 20, "the others:", "name", "end")
        self.chart.text(_LEFT - 10, top + 38, f"{len(hidden):,} threads", "name", "end")
        self.chart.bar(_LEFT, WIDTH - 8, top, top + _CROWD_HEIGHT, "lane0")
        self._areas(faults, top, top + _CROWD_HEIGHT)
        top += _CROWD_HEIGHT + 6
        self.chart.bar(_LEFT, WIDTH - 8, top, top + _RASTER_HEIGHT, "lane1")
        self.chart.text(_LEFT - 10, top + 20, "a line for each,", "name", "end")
        self.chart.text(_LEFT - 10, top + 38, "first on top", "name", "end")
        step = _RASTER_HEIGHT / max(1, len(faults))
        for number, fault in enumerate(faults):
            for cls, start, stop in pieces(fault):
                stop = self.end if stop is None else stop
                at = top + number * step
                self.chart.bar(self.axis.x(start), self.axis.x(stop), at, at + max(step, 0.5), cls,
                               fault_title(self.model, fault))
        self.bottom = top + _RASTER_HEIGHT

    def _areas(self, faults, top, bottom):
        changes = []
        for fault in faults:
            for cls, start, stop in pieces(fault):
                changes.append((start, FAULT.index(cls), 1))
                if stop is not None:
                    changes.append((stop, FAULT.index(cls), -1))
        now, most, points = [0, 0, 0], 1, []
        for time, which, by in sorted(changes):
            now[which] += by
            most = max(most, sum(now))
            points.append((self.axis.x(time), tuple(now)))
        scale = (bottom - top - 14) / most
        for which, cls in reversed(list(enumerate(FAULT))):
            path = f"M{_LEFT} {bottom}"
            for x, counts in points:
                path += f" H{x:.1f} V{bottom - scale * sum(counts[:which + 1]):.1f}"
            self.chart.add("path", cls, d=f"{path} V{bottom} Z", cls=cls)
        self.chart.text(_LEFT + 6, top + 12, f"at most {most:,} at once", "small")

    def _notes(self):
        last = None
        for number, (time, text) in enumerate(self.model.notes, 1):
            if time > self.end:
                break
            at = self.axis.x(time)
            # Those from before the first step would lie on each other.
            at = at if last is None or at - last >= 17 else last + 17
            last = at
            self.chart.line(at, 20, at, self.bottom, "note", text)
            self.chart.dot(at, 12, "badge", text, r=8)
            self.chart.text(at, 16, str(number), "number", "middle", text)
        for time, text in self.model.reports:
            at = self.axis.x(time)
            self.chart.line(at, 4, at, self.bottom, "report", text)

    def _axis(self):
        y = self.bottom + 4
        self.chart.line(_LEFT, y, WIDTH - 8, y, "axis")
        for left, right, gap in self.axis.cuts:
            middle = (left + right) / 2
            title = f"nothing happened for {duration(gap)}: drawn shorter than it is"
            self.chart.bar(middle - 4, middle + 4, y - 2, y + 3, "cut")
            for x in (middle - 5, middle + 1):
                self.chart.line(x, y + 5, x + 4, y - 5, "axis", title)
            self.chart.text(middle, y + 32, duration(gap), "small", "middle", title)
        for place, time in self.axis.ticks(76):
            self.chart.line(place, y, place, y + 5, "axis")
            inside = place < WIDTH - 40
            self.chart.text(place if inside else WIDTH, y + 17, self.when(time), "small",
                            "middle" if inside else "end",
                            f"{time / 1_000_000:.6f} s on CLOCK_MONOTONIC")
        self.chart.height = int(y + 40)


def overview(model, cast):
    """The Chart."""
    return _Overview(model, cast).draw()
