# SPDX-License-Identifier: GPL-2.0-only
"""The picture in which time runs downwards: a row for each step, in words, between the lanes."""

from collections import Counter

from study.chart import Chart
from study.overview import EVENT, FAULT, WIDTH
from study.words import duration, moment

_ROW = 20
_LEFT = 180
# Where the column of times ends.
_AT = 96
_MOST_ROWS = 700
_LETTER = 6.4
# From the thread to the context; from the context to the thread.
_TO_CTX = {"uffd_fault_queue", "uffd_event_queue", "uffd_ctx_create", "uffd_ctx_release",
           "uffd_register", "uffd_unregister", "uffd_resolve", "uffd_wake", "uffd_changing",
           "uffd_ctx_dup", "uffd_ctx_free"}
_FROM_CTX = {"uffd_fault_read", "uffd_event_read", "uffd_eagain"}
# The thread whose fault or event it is, is now in this state; None: it is over.
_CHANGES = {"uffd_fault_queue": FAULT[0], "uffd_fault_read": FAULT[1], "uffd_fault_unread": FAULT[0],
            "uffd_fault_wake": FAULT[2], "uffd_fault_done": None, "uffd_event_queue": EVENT[0],
            "uffd_event_read": EVENT[1], "uffd_event_unread": EVENT[0], "uffd_event_done": None}
_FOLDED = {"uffd_fault_queue": "queued", "uffd_fault_read": "read", "uffd_fault_wake": "woken",
           "uffd_fault_done": "over", "uffd_lock_drop": "locks given back",
           "uffd_resolve": "pages asked for", "uffd_wake": "wake-ups"}


class _Story:
    def __init__(self, model, cast):
        self.model, self.cast = model, cast
        lanes = len(cast.lanes)
        self.step_width = max(30, min(104, 560 // max(1, lanes)))
        self.right = _LEFT + self.step_width * lanes
        self.slanted = self.step_width < 92
        self.top = 96 if self.slanted else 34
        self.chart = Chart(WIDTH)
        self.back = []
        self.start = model.window[0]
        self.y = self.top
        self.last = None
        self.open = {}
        self.crowd = []

    def x(self, place):
        return _LEFT + self.step_width * (place + 0.5)

    def draw(self):
        """Rows in the order of time, headings where the scenario wrote them."""
        notes = list(enumerate(self.model.notes, 1))
        rows = 0
        for step in self.model.steps:
            while notes and notes[0][1][0] <= step.time:
                self._fold()
                self._heading(*notes.pop(0))
            if rows >= _MOST_ROWS:
                break
            if self.cast.folded(step):
                self.crowd.append(step)
                continue
            self._fold()
            self._step(step)
            rows += 1
        self._fold()
        for number, note in notes:
            self._heading(number, note)
        if rows >= _MOST_ROWS:
            self._row(self.model.window[1], "there is more: see the trace", "small")
        for lane in list(self.open):
            self._close(lane, self.y + _ROW)
        self._frame()
        return self.chart

    def _frame(self):
        """Lanes and their names, behind all the rest."""
        shapes, self.chart.shapes = self.chart.shapes, []
        for place, lane in enumerate(self.cast.lanes):
            x = self.x(place)
            self.chart.line(x, self.top - 4, x, self.y + 8, "lifeline")
            if self.slanted:
                self.chart.text(x - 2, self.top - 10, lane.name, "name",
                                transform=f"rotate(-40 {x - 2:.1f} {self.top - 10})")
            else:
                self.chart.text(x, self.top - 12, lane.name, "name", "middle")
        self.chart.text(_AT, self.top - 12, "at", "name", "end")
        self.chart.text(_LEFT - 14, self.top - 12, "after", "name", "end")
        self.chart.shapes += self.back + shapes
        self.chart.height = int(self.y + 16)

    def _heading(self, number, note):
        time, text = note
        self.y += 28
        self.chart.dot(_LEFT - 22, self.y - 4, "badge", r=8)
        self.chart.text(_LEFT - 22, self.y, str(number), "number", "middle")
        self.chart.text(_AT, self.y, moment(time - self.start), "small", "end")
        self.chart.bar(_LEFT - 6, WIDTH - 4, self.y - 16, self.y + 6, "heading")
        self.chart.text(_LEFT + 4, self.y, text, "strong")

    def _row(self, time, text, cls="", title=""):
        self.y += _ROW
        self.chart.text(_AT, self.y, moment(time - self.start), "small", "end",
                        f"{time / 1_000_000:.6f} s on CLOCK_MONOTONIC")
        if self.last is not None:
            self.chart.text(_LEFT - 14, self.y, f"+{duration(time - self.last)}", "small", "end")
        self.last = time
        left = self.right + 10
        room = int((WIDTH - left) / _LETTER)
        shown = text if len(text) <= room else text[:room - 1] + "…"
        self.chart.text(left, self.y, shown, cls, title=title or text)

    def _fold(self):
        """One row for what the crowd has done since the last."""
        if not self.crowd:
            return
        found = Counter(_FOLDED.get(step.event, step.event) for step in self.crowd)
        words = ", ".join(f"{count:,} {what}" for what, count in found.items())
        self._row(self.crowd[-1].time, f"the others: {words}", "small")
        self.crowd = []

    def _step(self, step):
        self._row(step.time, f"{self.model.name(step.thread)}: {step.text}",
                  "bad" if step.event == "console" else "")
        y = self.y - 4
        here = self.cast.place("thread", step.thread)
        ctx = self.cast.place("ctx", step.ctx)
        there = self.cast.place("thread", step.about)
        if step.event in _CHANGES and there is not None:
            self._change(step, there, y)
        if here is None:
            return
        cls = "drop" if step.event == "uffd_lock_drop" else "act"
        if step.event in _TO_CTX and ctx is not None:
            self.chart.arrow(self.x(here), self.x(ctx), y, "flow", step.text)
        elif step.event in _FROM_CTX and ctx is not None:
            self.chart.arrow(self.x(ctx), self.x(here), y, "flow", step.text)
        elif there is not None and there != here:
            self.chart.arrow(self.x(here), self.x(there), y, "flow", step.text)
        if step.event == "console":
            self.chart.dot(self.x(here), y, "report", step.text, r=6)
        elif cls == "drop":
            x = self.x(here)
            self.chart.add("path", step.text, d=f"M{x:.1f} {y - 6} l6 6 l-6 6 l-6 -6 z", cls="drop")
        else:
            self.chart.dot(self.x(here), y, cls, step.text)

    def _change(self, step, place, y):
        lane = (place, step.event.split("_")[1])
        self._close(lane, y)
        if _CHANGES[step.event]:
            self.open[lane] = (_CHANGES[step.event], y, step.time, step.text)

    def _close(self, lane, y):
        if lane not in self.open:
            return
        cls, top, _, text = self.open.pop(lane)
        x = self.x(lane[0])
        chart = Chart(WIDTH)
        chart.bar(x - 6, x + 6, top, y, cls, f"since: {text}")
        self.back += chart.shapes


def story(model, cast):
    """The Chart."""
    return _Story(model, cast).draw()
