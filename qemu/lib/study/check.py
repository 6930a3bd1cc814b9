# SPDX-License-Identifier: GPL-2.0-only
"""What the trace of each scenario must show."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Expected:
    """How many faults ended how, how many nobody read, which events were told, and the contexts."""

    faults: dict
    unread: int = 0
    events: dict = field(default_factory=dict)
    contexts: int = 1


# A scenario that is not here is only required to have no anomalies.
EXPECTED = {
    "single-fault": Expected({"woken": 1}),
    "unread": Expected({"woken": 1}, unread=1),
    "two-readers": Expected({"woken": 2}),
    "signal": Expected({"signal": 1, "woken": 1}),
    "killed-sleeper": Expected({"signal": 1}),
    "close-sleepers": Expected({"woken": 4}, unread=2),
    "exit-close": Expected({"woken": 1}),
    "fork-event": Expected({"woken": 2}, events={"fork": 1}, contexts=2),
    "mremap-copy": Expected({"woken": 1}, events={"remap": 1}),
    "wp-loop": Expected({"woken": 4}),
    "minor-continue": Expected({"woken": 1}),
    "move-swap": Expected({"woken": 4}),
    "thousand-sleepers": Expected({"woken": 1000}),
}
# Too long for every run of the tests.
SLOW = ("thousand-sleepers",)


def checks(name, problems, model):
    """[(what is checked, whether it holds)] of one scenario that was traced."""
    found = [(f"{name}: played{', '.join(['', *problems])}", not problems)]
    whole = "; ".join(model.anomalies[:3])
    found.append((f"{name}: the trace is whole{whole and ', but ' + whole}", not model.anomalies))
    found.append((f"{name}: there is a fault", len(model.faults) > 0))
    expected = EXPECTED.get(name)
    if expected:
        # Whether a thread was asleep already when its page came is a matter of luck.
        faults = Counter({"present": "woken"}.get(fault.how, fault.how)
                         for fault in model.faults.values())
        unread = sum(fault.read is None for fault in model.faults.values())
        events = Counter(event.fields["kind"] for event in model.events.values())
        for what, want, have in (("faults", expected.faults, dict(faults)),
                                 ("unread", expected.unread, unread),
                                 ("events", expected.events, dict(events)),
                                 ("contexts", expected.contexts, len(model.contexts))):
            found.append((f"{name}: {what} {want}, found {have}", want == have))
    return found
