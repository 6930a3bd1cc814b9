# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what is drawn, and of the pictures where gnuplot is installed."""

import shutil
import unittest
import xml.etree.ElementTree as ElementTree

from bench import plots
from bench.made_up import figure, results
from common import Failure

FOUND = results({
    "sleepers-0": (16600, 16700), "sleepers-16": (17000, 16700), "sleepers-4096": (140000, 17600),
    "readers-1": (100, 100), "readers-4": (120, 101),
    "readers-64": (figure(130, switches=65.0), figure(102, switches=2.0)), "copy-1": (7, 7)})


def curve(name):
    return next(curve for curve in plots.curves(FOUND) if curve.name == name)


class Curves(unittest.TestCase):
    def test_families(self):
        self.assertEqual([c.name for c in plots.curves(FOUND)], ["sleepers", "readers", "readers-switches"])
        self.assertEqual(curve("sleepers").points["c"], [(0, 16600), (16, 17000), (4096, 140000)])
        self.assertEqual(curve("readers-switches").points["rust"], [(1, 2.0), (4, 2.0), (64, 2.0)])
        self.assertEqual(curve("sleepers").y, "guest instructions per fault")

    def test_a_row_alone_is_no_curve(self):
        for found in ({"readers-1": (1, 1)}, {"readers-1": (1, 1), "readers-4": (1, None)}):
            self.assertEqual(plots.curves(results(found)), [])


class Axes(unittest.TestCase):
    def test_logarithmic_where_it_grows(self):
        self.assertIn("set logscale y", plots.script(curve("sleepers")))
        self.assertNotIn("set logscale y", plots.script(curve("readers")))
        self.assertIn("set logscale x", plots.script(curve("readers")))

    def test_none_at_all_stands_a_step_before(self):
        self.assertIn('set xtics ("0" 4, "16" 16, "4,096" 4096)', plots.script(curve("sleepers")))

    def test_round_numbers_around_all(self):
        self.assertEqual(plots._decades(16600, 140000),
                         ([10000, 20000, 50000, 100000, 200000], 10000, 224000))
        self.assertEqual(plots._decades(2, 65)[0], [1, 2, 5, 10, 20, 50, 100])
        self.assertEqual(plots._decades(4000, 9e6)[0], [10 ** n for n in range(3, 8)])
        self.assertEqual(plots._steps(130), ([0, 50, 100, 150], 0, 150))


@unittest.skipUnless(shutil.which(plots.GNUPLOT), "gnuplot is not installed")
class Pictures(unittest.TestCase):
    def test_a_picture(self):
        for found in plots.curves(FOUND):
            text = plots.draw(found)
            ElementTree.fromstring(text)
            self.assertEqual(text, plots.draw(found))
            for part in (found.x, found.y, found.title, ">C<", ">Rust<", "prefers-color-scheme: dark"):
                self.assertIn(part, text)
            for color, _ in plots.THEME.values():
                r, g, b = plots._decimal(color)
                # Each is used, in a form that the style sheet has a rule for.
                body = text.partition("</style>")[2].replace("'", '"')
                self.assertTrue(any(f'"{form}"' in body for form in (
                    color, f"rgb({r},{g},{b})", f"rgb({r:3}, {g:3}, {b:3})")), color)


class WithoutGnuplot(unittest.TestCase):
    def test_says_what_to_install(self):
        found, plots.GNUPLOT = plots.GNUPLOT, "no-such-gnuplot"
        self.addCleanup(setattr, plots, "GNUPLOT", found)
        for call in (plots.need_gnuplot, lambda: plots.draw(curve("readers"))):
            with self.assertRaises(Failure) as caught:
                call()
            self.assertIn("no-such-gnuplot", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
