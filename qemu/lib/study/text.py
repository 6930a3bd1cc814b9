# SPDX-License-Identifier: GPL-2.0-only
"""The summary of a scenario as text."""

import statistics
from collections import Counter

from study.words import announced, duration

# The second is since the fault was queued where nobody has read it.
PHASES = ("queued to read", "then to woken", "woken to over")
_LISTED = 20
_HEAD = ("fault", "thread", "address", "reason", "queued>read", "then>woken", "woken>over", "how")


def reason(fault):
    """Why it is a fault, and what was wanted."""
    return f"{fault.fields['reason']}, {'write' if fault.fields['flags'] & 1 else 'read'}"


def columns(rows):
    """Aligned columns, two spaces between."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]


def _faults(model):
    faults = list(model.faults.values())
    rows = [_HEAD]
    for fault in faults[:_LISTED]:
        rows.append((fault.name, model.name(fault.thread), f"{fault.fields['address']:#x}",
                     reason(fault), *map(duration, fault.phases), fault.how))
    yield from columns(rows)
    if len(faults) > _LISTED:
        yield f"and {len(faults) - _LISTED:,} more, in the page"


def spread(model):
    """(phase, how many, shortest, middle, 99th of a hundred, longest) of all faults."""
    for index, phase in enumerate(PHASES):
        times = sorted(fault.phases[index] for fault in model.faults.values()
                       if fault.phases[index] is not None)
        if times:
            yield (phase, len(times), times[0], statistics.median_low(times),
                   times[(len(times) * 99 - 1) // 100], times[-1])


def counts(model):
    """(what, how often) of calls, wake-ups and refusals, the most frequent first."""
    found = Counter()
    for step in model.steps:
        if step.event in ("uffd_resolve", "uffd_eagain", "uffd_fault_refused", "uffd_register",
                          "uffd_unregister", "uffd_lock_drop", "signal_generate"):
            found[step.short] += 1
    return found.most_common()


def _events(model):
    for event in model.events.values():
        read = duration(event.read - event.queued) if event.read else "never read"
        after = duration(event.end - event.read) if event.read and event.end else "-"
        yield (f"event {event.name}: {announced(event.fields)}, by {model.name(event.thread)}; "
               f"queued to read {read}, read to over {after}; {event.how}")


def plural(count, word):
    return f"{count:,} {word}{'s' * (count != 1)}"


def headline(model):
    """The numbers of it, in one line."""
    return ", ".join((plural(len(model.contexts), "context"), plural(len(model.actors), "thread"),
                      plural(len(model.faults), "fault"), plural(len(model.events), "event"),
                      plural(len(model.anomalies), "anomaly").replace("anomalys", "anomalies")))


def summary(title, model):
    """All of it."""
    lines = [title, headline(model), ""]
    if model.faults:
        lines += [*_faults(model), ""]
    if len(model.faults) > 1:
        rows = [("all faults", "count", "least", "median", "99 %", "most")]
        rows += [(phase, f"{count:,}", *map(duration, times))
                 for phase, count, *times in spread(model)]
        lines += [*columns(rows), ""]
    if model.events:
        lines += [*_events(model), ""]
    lines += [f"{number:,} x {what}" for what, number in counts(model)]
    lines += ["", *(f"ANOMALY: {text}" for text in model.anomalies)] if model.anomalies else []
    return "\n".join(lines).rstrip() + "\n"
