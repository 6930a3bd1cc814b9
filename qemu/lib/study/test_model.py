# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the model."""

import unittest

from study import sample
from study.model import build
from study.trace import parse


def model(*lines, **more):
    return build(parse(sample.trace(*lines, **more)))


class Lives(unittest.TestCase):
    def test_a_fault(self):
        found = build(parse(sample.single()))
        self.assertEqual(found.anomalies, [])
        fault = found.faults[1, 1]
        self.assertEqual(fault.phases, (10, 100, 5))
        self.assertEqual((fault.name, fault.how, found.name(fault.thread)),
                         ("1.1", "woken", "faulter"))
        self.assertEqual(fault.dropped, (1_000_302, "vma"))
        self.assertEqual(found.notes, [(1_000_250, "it begins & goes on")])
        ctx = found.contexts[1]
        self.assertEqual((ctx.made[0], ctx.released, ctx.freed), (1_000_100, 1_900_000, 1_900_002))

    def test_answered_unread(self):
        lines = [line for line in sample.fault(1, 48, 1000) if "uffd_fault_read" not in line]
        found = model(*lines)
        self.assertEqual(found.faults[1, 1].phases, (None, 110, 5))
        self.assertEqual(found.anomalies, [])

    def test_a_message_that_was_given_back(self):
        where = f"ctx=1 fault=1 address={sample.ADDRESS:#x}"
        lines = list(sample.fault(1, 48, 1000))
        lines[2:3] = [sample.line("m", 46, 1003, "uffd_fault_read", where),
                      sample.line("m", 46, 1004, "uffd_fault_unread", where), lines[2]]
        found = model(*lines)
        self.assertEqual(found.anomalies, [])
        self.assertEqual(found.faults[1, 1].phases, (10, 100, 5))

    def test_a_signal_ends_it(self):
        lines = list(sample.fault(1, 48, 1000))
        end = lines[-1].replace("how=woken", "how=signal")
        found = model(*lines[:3], end)
        self.assertEqual((found.faults[1, 1].how, found.faults[1, 1].phases),
                         ("signal", (10, None, None)))
        self.assertEqual(found.anomalies, [])

    def test_an_event(self):
        found = model(
            sample.line("mover", 48, 10, "uffd_changing", "ctx=1 count=1"),
            sample.line("mover", 48, 20, "uffd_event_queue",
                        "ctx=1 event=4 kind=remap arg0=0x1000 arg1=0x3000 arg2=0x1000"),
            sample.line("manager", 46, 50, "uffd_event_read", "ctx=1 event=4"),
            sample.line("mover", 48, 60, "uffd_event_done", "ctx=1 event=4 how=read"),
            sample.line("mover", 48, 61, "uffd_changing", "ctx=1 count=0"))
        event = found.events[1, 4]
        self.assertEqual((event.queued, event.read, event.end, event.how), (20, 50, 60, "read"))
        self.assertEqual(found.contexts[1].changing, [(10, 61)])
        self.assertEqual(found.anomalies, [])


class Anomalies(unittest.TestCase):
    def told(self, part, *lines, **more):
        found = model(*lines, **more).anomalies
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])

    def test_each(self):
        life = list(sample.fault(1, 48, 1000))
        self.told("never over", *life[:-1])
        self.told("by nobody", *life[:4], life[-1])
        self.told("read twice", *life[:3], *life[2:])
        self.told("wake after it was over", *life, life[4])
        self.told("read, but never queued", life[2])
        self.told("did not start it", *life[:-1], life[-1].replace("-48 ", "-49 "))
        self.told("never given back", *sample.begin())
        self.told("still changing", sample.line("m", 46, 1, "uffd_changing", "ctx=1 count=1"))
        self.told("7 lines", *life, lost=7)
        self.told("cannot be read", *life, "gibberish\n")

    def test_report_of_the_kernel(self):
        for text in ("BUG: KASAN: slab-use-after-free in x", "RBX: 6b6b6b6b6b6b6b6b RCX: 0"):
            report = sample.line("faulter", 48, 1050, "console", f"[    1.0] {text}")
            self.told(text, *sample.fault(1, 48, 1000), report)
        found = model(sample.line("faulter", 48, 1050, "console", "all is well"))
        self.assertEqual((found.reports, found.steps, found.anomalies), ([], [], []))


class Threads(unittest.TestCase):
    def test_what_a_thread_does(self):
        found = model(sample.root(0), *sample.thread("faulter", 48, 10),
                      sample.switch(20, 0, 48), sample.switch(30, 48, 0, "D"),
                      sample.line("m", 46, 40, "sched_wakeup",
                                  "comm=x pid=48 prio=120 target_cpu=001"),
                      sample.switch(50, 0, 48), sample.switch(60, 48, 0, "R+"),
                      sample.switch(70, 0, 48), sample.switch(80, 48, 0, "X"))
        self.assertEqual(found.threads[48].states, [
            (10, 20, "ready"), (20, 30, "run"), (30, 40, "block"), (40, 50, "ready"),
            (50, 60, "run"), (60, 70, "ready"), (70, 80, "run")])
        self.assertEqual(found.actors, [])

    def test_signals_of_the_scenario_alone(self):
        def sent(who, to, number):
            return sample.line("x", who, 20, "signal_generate",
                               f"sig={number} errno=0 code=0 comm=y pid={to} grp=1 res=0")
        faulter = list(sample.thread("faulter", 48, 10))
        for who, to, number, steps in ((46, 48, 10, 1), (45, 46, 9, 0), (46, 45, 10, 0),
                                       (48, 46, 17, 0)):
            self.assertEqual(len(model(sample.root(0), *faulter, sent(who, to, number)).steps), steps)


if __name__ == "__main__":
    unittest.main()
