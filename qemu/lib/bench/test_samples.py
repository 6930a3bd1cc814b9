# SPDX-License-Identifier: GPL-2.0-only
"""Tests of reading what uffd-cost prints, and of choosing rows."""

import json
import unittest

from bench import samples
from bench.choose import choose, listing
from bench.made_up import ROWS, figure
from bench.samples import CLOCK, Figure, Row
from common import Failure

KERNEL = '{"kernel": "Linux 1"}\n'


def line(row, cost, switches=0.0, **more):
    return json.dumps({"row": row, "ops": 10, "cost": cost, "switches": switches, **more}) + "\n"


class Samples(unittest.TestCase):
    def test_figures_are_the_middle(self):
        kernel, found = samples.parse(
            KERNEL + "".join(line("a", v, v / 10) for v in (30, 10, 20)) + line("b", 7))
        self.assertEqual(kernel, "Linux 1")
        a, b = (Figure(tuple(found[name])) for name in "ab")
        self.assertEqual((a.cost, a.switches, a.spread), (20, 2, 1))
        self.assertEqual((b.cost, b.spread), (7, 0))

    def test_nothing_at_all_has_no_spread(self):
        self.assertEqual(figure(0, 0).spread, 0)

    def test_further_numbers(self):
        _, found = samples.parse(KERNEL + line("a", 1, extra={"waits": 3}) + line("a", 1, extra={"waits": 5})
                                 + line("a", 1))
        self.assertEqual(Figure(tuple(found["a"])).extra("waits"), 4)
        self.assertIsNone(Figure(tuple(found["a"])).extra("holds"))

    def test_what_a_kernel_lacks_has_no_figure(self):
        _, found = samples.parse(KERNEL + '{"row": "a", "lacking": true}\n' + line("b", 7))
        self.assertEqual(list(found), ["b"])

    def test_anything_else_is_an_error(self):
        for text in ("", "hello\n", KERNEL, KERNEL + '{"row": "a"}\n', "7\n", line("a", 1),
                     KERNEL + line("a", "x"), KERNEL + line("a", 1, extra=7), KERNEL + "\n"):
            with self.subTest(text), self.assertRaises(Failure):
                samples.parse(text)

    def test_what_is_printed_so_far(self):
        for text, names in (("", []), (KERNEL, []), (KERNEL + line("a", 1) + '{"row": "b', ["a"]),
                            (KERNEL + line("a", 1) + line("b", 1)[:-1], ["a"])):
            with self.subTest(text):
                kernel, found = samples.parse(text, whole=False)
                self.assertEqual((kernel, list(found)), ("Linux 1" if text else None, names))
        with self.assertRaises(Failure):
            samples.parse(KERNEL + "hello\n", whole=False)

    def test_clock(self):
        samples.check_clock("c", {CLOCK: figure(1.009).samples})
        for found in ({}, {CLOCK: figure(0.13).samples}, {CLOCK: figure(1.02).samples}):
            with self.assertRaises(Failure):
                samples.check_clock("c", found)


class Rows(unittest.TestCase):
    def item(self, **more):
        return json.dumps({"row": "a", "about": "b", "group": "growth", **more})

    def test_list(self):
        found = samples.rows(self.item(unit="bytes") + "\n"
                             + self.item(unit="instructions", family="sleepers", n=16) + "\n" + self.item())
        self.assertEqual(found, [Row("a", "b", "growth", "bytes"),
                                 Row("a", "b", "growth", "instructions", "sleepers", 16),
                                 Row("a", "b", "growth")])

    def test_bad_lists(self):
        for text in ("", "fault-read  a fault\n", '{"row": "a", "about": "b"}', self.item(group="odd")):
            with self.subTest(text), self.assertRaises(Failure):
                samples.rows(text)


class Choice(unittest.TestCase):
    def names(self, *args):
        return [row.name for row in choose([Row(CLOCK, "", ""), *ROWS], *args)]

    def test_everything(self):
        self.assertEqual(self.names(), [row.name for row in ROWS])

    def test_names(self):
        self.assertEqual(self.names(["fault"]), ["fault-read", "plain-fault"])
        self.assertEqual(self.names(["=copy-1", "register"]), ["copy-1", "register"])
        self.assertEqual(self.names([], ["background"]), ["copy-1", "copy-512"])
        self.assertEqual(self.names(["fault"], ["alternatives"]), ["plain-fault"])

    def test_unknown_ones_list_the_valid_ones(self):
        for args, valid in (((["fault", "x-y"],), "plain-fault"), ((["=fault"],), "fault-read"),
                            (([], ["speed"]), "round trip"), ((["fault"], ["memory"]), "no row is left"),
                            (([""],), "names no row"), (([CLOCK],), "fault-read")):
            with self.subTest(args), self.assertRaises(Failure) as caught:
                self.names(*args)
            self.assertIn(valid, str(caught.exception))

    def test_listing(self):
        text = listing(list(ROWS))
        self.assertTrue(text.startswith("Round trips (round trip):\n  fault-read      a fault\n\n"), text)
        self.assertNotIn(CLOCK, text)


if __name__ == "__main__":
    unittest.main()
