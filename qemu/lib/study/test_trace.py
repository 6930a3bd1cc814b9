# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the reader of traces."""

import unittest

from study import sample
from study.trace import parse


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


if __name__ == "__main__":
    unittest.main()
