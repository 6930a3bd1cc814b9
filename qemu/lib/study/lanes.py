# SPDX-License-Identifier: GPL-2.0-only
"""Which threads get a lane of their own, and which are a crowd."""

from dataclasses import dataclass, field

# A thread that only faults has company from here on.
MOST_SLEEPERS = 10
SHOWN_SLEEPERS = 6
# A context is given back by whoever happens to hold it last.
_FAULTING = {"uffd_fault_queue", "uffd_fault_done", "uffd_fault_refused", "uffd_lock_drop",
             "signal_deliver", "uffd_ctx_free"}


@dataclass(frozen=True)
class Lane:
    """`key`: ("thread", its number) or ("ctx", its number)."""

    key: tuple
    name: str


@dataclass
class Cast:
    """The lanes from left to right or from the top, and the threads that have none."""

    lanes: list
    hidden: list = field(default_factory=list)

    def __post_init__(self):
        self._places = {lane.key: place for place, lane in enumerate(self.lanes)}
        self._crowd = set(self.hidden)

    def place(self, *key):
        """The number of a lane, None if there is none."""
        return self._places.get(key)

    def folded(self, step):
        """Whether a step is about the crowd."""
        return step.about in self._crowd or step.thread in self._crowd


def assign(model):
    """Those who act, then the contexts, then those who only fault: messages go from right to left."""
    acts = {step.thread for step in model.steps
            if step.event not in _FAULTING and step.event != "console"}
    faulters = [tid for tid in model.actors if tid not in acts]
    crowded = len(faulters) > MOST_SLEEPERS
    shown = faulters[:SHOWN_SLEEPERS] if crowded else faulters
    lanes = [Lane(("thread", tid), model.name(tid)) for tid in model.actors if tid in acts]
    lanes += [Lane(("ctx", number), f"context {number}") for number in sorted(model.contexts)]
    lanes += [Lane(("thread", tid), model.name(tid)) for tid in shown]
    return Cast(lanes, faulters[len(shown):])
