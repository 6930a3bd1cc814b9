# SPDX-License-Identifier: GPL-2.0-only
"""The timeline as a page that needs nothing but itself."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from study import lanes, text
from study.overview import overview
from study.story import story
from study.words import announced, duration

_TEMPLATE = "page.html.j2"
# So many faults are listed at once; the others unfold.
LISTED = 40


_LEGEND = (
    ("unread", "fault: asleep, its message unread"), ("read", "fault: its message was read"),
    ("woken", "fault: woken, on its way back"),
    ("announced", "event: its maker waits, unread"), ("heard", "event: read, its maker on its way"),
    ("context", "context, from its making until it is given back"),
    ("changing", "mappings are changing: fills get EAGAIN"),
    ("act", "something that a thread does"), ("drop", "a lock is given back before sleeping"),
    ("report", "report of the kernel"), ("cpu run", "strip below: on a processor"),
    ("cpu ready", "strip below: waiting for one"),
    ("cpu block", "strip below: asleep, and no ordinary signal wakes it"),
)


def _legend(chart):
    """What the colours mean, as far as they are there."""
    used = {shape.attributes["class"] for shape in chart.shapes}
    return [(cls, words) for cls, words in _LEGEND if cls in used]


def _fault_row(model, start, fault):
    reader = model.name(fault.reads[-1][1]) if fault.reads else "-"
    return {
        "name": fault.name, "thread": model.name(fault.thread),
        "address": f"{fault.fields['address']:#x}", "reason": text.reason(fault),
        "queued": duration(fault.queued - start), "reader": reader,
        "waker": model.name(fault.woken[1]) if fault.woken else "-",
        "phases": [duration(time) for time in fault.phases],
        "lock": fault.dropped[1] if fault.dropped else "-", "how": fault.how,
    }


def _event_row(model, start, event):
    return {
        "name": event.name, "what": announced(event.fields), "thread": model.name(event.thread),
        "queued": duration(event.queued - start),
        "reader": model.name(event.reads[-1][1]) if event.reads else "-",
        "phases": [duration(event.read and event.read - event.queued),
                   duration(event.end - event.read if event.read and event.end else None)],
        "how": event.how,
    }


def page(name, about, origin, model, problems=(), reports=()):
    """The HTML.

    `origin`: what it ran on; `problems`: what went wrong outside of the trace; `reports`: what the
    kernel reported, in full, as far as the console has more than the trace.
    """
    cast, start = lanes.assign(model), model.window[0]
    over_time = overview(model, cast) if model.steps else None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(_TEMPLATE).render(
        name=name, about=about, origin=origin, headline=text.headline(model),
        problems=[*problems, *model.anomalies],
        overview=over_time, legend=_legend(over_time) if over_time else [],
        story=story(model, cast) if model.steps else None,
        hidden=len(cast.hidden),
        faults=[_fault_row(model, start, fault) for fault in model.faults.values()], listed=LISTED,
        spread=[(phase, f"{count:,}", *map(duration, times))
                for phase, count, *times in text.spread(model)],
        events=[_event_row(model, start, event) for event in model.events.values()],
        counts=text.counts(model), reports=list(reports) or [report for _, report in model.reports],
    )
