# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the reader of traces."""

import re
import unittest

from common import ROOT
from study import sample
from study.trace import FIELDS, dumped, parse

HEADER = ROOT / "include" / "trace" / "events" / "userfaultfd.h"


def one(text):
    """The only line of a trace."""
    trace = parse(text)
    assert trace.unreadable == [], trace.unreadable
    return trace.lines[0]


class Lines(unittest.TestCase):
    def test_who_where_when(self):
        line = one(sample.line("a-b c", 48, 5_118_583, "uffd_changing", "ctx=3 count=-1", "dNs2."))
        self.assertEqual((line.comm, line.pid, line.cpu, line.time, line.event),
                         ("a-b c", 48, 0, 5_118_583, "uffd_changing"))
        self.assertEqual(line.fields, {"ctx": 3, "count": -1})

    def test_with_thread_groups_and_without_flags(self):
        line = one("   kworker/0:1-7     (     12) [001]    10.000001: uffd_ctx_free: ctx=1\n")
        self.assertEqual((line.comm, line.pid, line.time), ("kworker/0:1", 7, 10_000_001))

    def test_numbers_and_names(self):
        line = one(sample.line("m", 46, 1, "uffd_resolve",
                               "ctx=1 kind=copy start=0x7f00 len=0x1000 mode=0x0 ret=-17"))
        self.assertEqual(line.fields["kind"], "copy")
        self.assertEqual((line.fields["start"], line.fields["ret"]), (0x7f00, -17))

    def test_those_of_others(self):
        line = one(sample.switch(1, 46, 0, "R+"))
        self.assertEqual(line.fields, {"prev": 46, "state": "R+", "next": 0})
        line = one(next(sample.thread("x", 48, 1)))
        self.assertEqual((line.fields["pid"], line.fields["flags"]), (48, 0x3d0f00))
        line = one(sample.line("m", 1, 1, "task_rename", "oldcomm=a newcomm=b c oom_score_adj=0"))
        self.assertEqual(line.fields["name"], "b c")
        line = one(sample.line("m", 1, 1, "console", "BUG: 12: ctx=1"))
        self.assertEqual(line.fields["text"], "BUG: 12: ctx=1")
        self.assertEqual(one(sample.line("m", 1, 1, "page_fault_user", "address=0x1")).fields, {})

    def test_what_is_no_line_is_told(self):
        for bad in ("hello\n", sample.line("m", 1, 1, "uffd_ctx_free", "ctx=1 more=2"),
                    sample.line("m", 1, 1, "uffd_ctx_free", ""),
                    sample.line("m", 1, 1, "uffd_unheard_of", "ctx=1"),
                    sample.line("m", 1, 1, "uffd_changing", "count=1 ctx=1")):
            trace = parse(sample.trace(bad))
            self.assertEqual((len(trace.unreadable), trace.lines), (1, []), bad)

    def test_lost_lines_are_counted(self):
        self.assertEqual(parse(sample.trace(sample.root(), lost=7)).lost, 7)
        self.assertEqual(parse("CPU:1 [LOST 3 EVENTS]\n" + sample.root()).lost, 3)
        self.assertEqual(parse(sample.single()).lost, 0)


class LastWords(unittest.TestCase):
    """What a kernel that dies prints to its console."""

    CONSOLE = (
        "[   13.1] sysrq: Trigger a crash\n"
        "[   13.2][   T46] Dumping ftrace buffer:\n"
        "[   13.2][   T46] ---------------------------------\n"
        "[   13.2][   T46]  manager-46      0.....    12us : uffd_ctx_create: ctx=1 flags=0x80800\n"
        "[   13.3][   T46] CPU:1 [LOST 9 EVENTS]\n"
        "[   13.3][   T46]  faulter-48      1...1. 13579us+: uffd_fault_queue: ctx=1 fault=1 "
        "address=0x7f00 flags=0x0 reason=missing\n"
        "[   13.4][   T46] ---------------------------------\n"
        "[   13.4][   T46] Rebooting in 1 second\n")

    def test_are_read(self):
        trace = parse(dumped(self.CONSOLE))
        self.assertEqual((trace.unreadable, trace.lost), ([], 9))
        self.assertEqual([(line.comm, line.pid, line.cpu, line.time, line.event)
                          for line in trace.lines],
                         [("manager", 46, 0, 12, "uffd_ctx_create"),
                          ("faulter", 48, 1, 13_579, "uffd_fault_queue")])

    def test_may_be_cut_short_or_lacking(self):
        self.assertEqual(len(parse(dumped(self.CONSOLE.partition("CPU:1")[0])).lines), 1)
        self.assertEqual(dumped("[    1.0] all is well\n"), "")


class Contract(unittest.TestCase):
    """The fields are those that the kernel's header prints."""

    def test_fields_of_the_header(self):
        text = HEADER.read_text(encoding="utf-8")
        found = {}
        for part in re.split(r"\n(?=TRACE_EVENT|DECLARE_EVENT_CLASS|DEFINE_EVENT)", text)[1:]:
            kind, name, rest = re.match(r"(\w+)\((\w+)(.*)", part, re.S).groups()
            if kind in ("DEFINE_EVENT", "DEFINE_EVENT_FN"):
                event = re.match(r", (\w+)", rest)[1]
                found[event] = classes[name]
                continue
            keys = re.findall(r"(\w+)=", re.search(r'TP_printk\("(.*?)"', rest, re.S)[1])
            if kind in ("TRACE_EVENT", "TRACE_EVENT_FN"):
                found[name] = " ".join(keys)
            else:
                classes = found.setdefault("", {})
                classes[name] = " ".join(keys)
        found.pop("")
        self.assertEqual(found, FIELDS)


if __name__ == "__main__":
    unittest.main()
