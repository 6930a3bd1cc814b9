# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the limits of a check, and of the targets."""

import unittest

import ktap
from bench import limits
from bench.made_up import ROWS, figure, results

C = ("fault-read", "copy-1", "copy-512", "register")
CROWDS = ("sleepers-0", "sleepers-4096", "readers-1", "readers-64")


def content():
    """Figures that keep every limit, just."""
    found = {name: (100, 102) for name in C}
    found.update({name: (None, 100) for name in CROWDS})
    found["sleepers-4096"] = (None, 110)
    found["readers-64"] = (None, figure(110, switches=2.05))
    return found


class Gate(unittest.TestCase):
    def failed(self, found):
        checks = limits.gate(ROWS, results(found))
        report = ktap.parse(ktap.text(checks))
        self.assertEqual(report.errors, [])
        self.assertEqual(report.failed, sum(not holds for _, holds in checks))
        return [about for about, holds in checks if not holds]

    def test_rows(self):
        self.assertEqual(tuple(row.name for row in limits.gate_rows(ROWS, "c")), C)
        self.assertEqual(tuple(row.name for row in limits.gate_rows(ROWS, "rust")), C + CROWDS)

    def test_limits_are_kept(self):
        self.assertEqual(self.failed(content()), [])

    def test_each_limit(self):
        for row, bad, count in (("fault-read", (100, 102.1), 1), ("register", (100, 103), 1),
                                ("sleepers-4096", (None, 110.3), 1), ("sleepers-0", (None, 90), 1),
                                ("readers-64", (None, figure(111, switches=2.06)), 2)):
            failed = self.failed({**content(), row: bad})
            self.assertEqual(len(failed), count, row)
            self.assertTrue(all(row in about for about in failed), failed)

    def test_a_missing_figure_fails(self):
        found = content()
        del found["readers-64"]
        self.assertEqual(len(self.failed(found)), 2)
        self.assertEqual(len(self.failed({**content(), "copy-1": (None, 100)})), 1)
        self.assertEqual(len(self.failed({"plain-fault": (1, 1)})), len(C) + 3)


class Targets(unittest.TestCase):
    def test_kept(self):
        self.assertEqual(limits.misses(results({
            "fault-read": (figure(100, 101, 102), 102), "copy-1": (100, 90), "memory-context": (100, 100),
            "sleepers-0": (100, 100), "sleepers-4096": (500, 110), "copy-512": (5, 5), "register": (5, None),
            ("throughput-4x1", 2): (100, 200)})), ["register: no figure for Rust"])

    def test_what_is_unfinished_misses_nothing(self):
        self.assertEqual(limits.misses(results({"register": (5, None)}, complete=False)), [])

    def test_dearer_than_c(self):
        # Half of it is within the spread.
        self.assertEqual(limits.misses(results({
            "fault-read": (figure(1000, 1010), 1013), "register": (1000, 1013), "memory-context": (8, 9),
        })), ["register: Rust 1,013, C 1,000, +1.30 % with a spread of 0.00 %",
              "memory-context [bytes]: Rust 9.0, C 8.0, +12.50 % with a spread of 0.00 %"])

    def test_growth(self):
        lines = limits.misses(results({
            "readers-1": (100, 100), "readers-4": (400, 111), "readers-64": (900, figure(100, switches=3)),
            "sleepers-16": (100, 100), "sleepers-4096": (900, 120)}))
        self.assertEqual(lines, [
            "sleepers-4096: Rust takes 1.200 times what sleepers-16 takes, at most 1.10",
            "readers-4: Rust takes 1.110 times what readers-1 takes, at most 1.10",
            "readers-64: Rust switches 3.00 times per fault, at most 2.05"])


if __name__ == "__main__":
    unittest.main()
