# SPDX-License-Identifier: GPL-2.0-only
"""Shapes of an SVG picture, and an axis of time."""

import bisect
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """An SVG element. `title` is what shows when one points at it."""

    tag: str
    attributes: dict
    title: str = ""
    text: str = ""


def _round(value):
    return round(value, 1) if isinstance(value, float) else value


@dataclass
class Chart:
    """A picture of so many pixels."""

    width: int
    height: int = 0
    shapes: list = field(default_factory=list)

    def add(self, tag, title="", text="", **attributes):
        """An element; `_` in a name stands for `-`, `cls` for `class`."""
        named = {key.replace("_", "-"): _round(value) for key, value in attributes.items()}
        named["class"] = named.pop("cls")
        self.shapes.append(Shape(tag, named, title, text))

    def bar(self, x0, x1, y0, y1, cls, title=""):
        """A rectangle between two corners, at least a pixel in each direction."""
        self.add("rect", title, x=x0, y=y0, width=max(1.0, float(x1 - x0)),
                 height=max(1.0, float(y1 - y0)), cls=cls)

    def line(self, x0, y0, x1, y1, cls, title=""):
        self.add("line", title, x1=x0, y1=y0, x2=x1, y2=y1, cls=cls)

    def text(self, x, y, text, cls="", anchor="start", title="", **more):
        self.add("text", title, text, x=x, y=y, cls=cls, text_anchor=anchor, **more)

    def dot(self, x, y, cls, title="", r=4):
        self.add("circle", title, cx=x, cy=y, r=r, cls=cls)

    def arrow(self, x0, x1, y, cls, title=""):
        """A level arrow that ends short of the middle of its target."""
        way = 1 if x1 > x0 else -1
        tip = x1 - way * 5
        self.line(x0, y, tip, y, cls, title)
        self.add("path", title, d=f"M{tip:.1f} {y} l{-way * 6} -3.5 v7 z", cls=f"head {cls}")


# No gap between two steps takes more of the width than this; a smaller one is in proportion.
_MOST_PART = 0.14
# Steps beside each other stay apart.
_LEAST = 2.0


def _scale(gaps, room, most):
    """Pixels per microsecond, so that the gaps, none longer than `most` pixels, fill the room."""
    low, high = 0.0, room
    for _ in range(60):
        middle = (low + high) / 2
        if sum(min(most, middle * gap) for gap in gaps) < room:
            low = middle
        else:
            high = middle
    return high


class Axis:
    """Time in proportion, but steps stay apart, and long stretches without one are all the same."""

    def __init__(self, times, left, width):
        self.times = sorted(set(times)) or [0]
        gaps = [end - start for start, end in zip(self.times, self.times[1:])]
        least = min(_LEAST, width / (2 * len(gaps))) if gaps else 0
        room = width - least * len(gaps)
        most = room * max(_MOST_PART, 1 / len(gaps)) if gaps else 0
        scale = _scale(gaps, room, most)
        self.places, self.cuts = [left], []
        for gap in gaps:
            at = self.places[-1]
            self.places.append(at + least + min(most, scale * gap))
            # By rounding alone a gap would not be longer than what it is given.
            if scale * gap > most * 1.01:
                self.cuts.append((at, self.places[-1], gap))

    def x(self, time):
        """The place of a time, between its neighbours if there is no step at it."""
        at = bisect.bisect_right(self.times, time) - 1
        if at < 0:
            return self.places[0]
        if at + 1 == len(self.times):
            return self.places[-1]
        part = (time - self.times[at]) / (self.times[at + 1] - self.times[at])
        return self.places[at] + part * (self.places[at + 1] - self.places[at])

    def ticks(self, distance):
        """(place, time) of steps that are so far apart that each can have a label."""
        last = None
        for time, place in zip(self.times, self.places):
            if last is None or place - last >= distance:
                yield place, time
                last = place
