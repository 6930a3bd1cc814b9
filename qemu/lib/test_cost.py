# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the reader of samples, the table and the limits."""

import json
import subprocess
import unittest

import cost
import ktap
from common import ROOT, Failure
from cost import Figure


def sample(row, value, switches=0.0):
    return json.dumps({"row": row, "ops": 10, "cost": value, "switches": switches}) + "\n"


def figure(value, switches=2.0):
    return Figure((value,), (switches,))


def content():
    """Figures that keep every limit, just."""
    c = {row: figure(100) for row in cost.GATE_ROWS["c"]}
    rust = {row: figure(102) for row in cost.GATE_ROWS["rust"]}
    rust["sleepers-4096"] = figure(112.2)
    rust["readers-64"] = figure(112.2, 2.05)
    return c, rust


class Samples(unittest.TestCase):
    def test_figures_are_the_middle(self):
        text = '{"kernel": "Linux 1"}\n' + "".join(sample("a", v, v / 10) for v in (30, 10, 20))
        kernel, figures = cost.parse(text + sample("b", 7))
        self.assertEqual(kernel, "Linux 1")
        self.assertEqual(figures["a"].cost, 20)
        self.assertEqual(figures["a"].switch, 2)
        self.assertEqual(figures["a"].spread, 1)
        self.assertEqual(figures["b"].spread, 0)

    def test_what_a_kernel_lacks_has_no_figure(self):
        text = '{"kernel": "Linux 1"}\n{"lacking": "a"}\n' + sample("b", 7)
        self.assertEqual(list(cost.parse(text)[1]), ["b"])

    def test_anything_else_is_an_error(self):
        for text in ("", "hello\n", '{"kernel": "x"}\n', '{"kernel": "x"}\n{"row": "a"}\n', "7\n"):
            with self.subTest(text), self.assertRaises(Failure):
                cost.parse(text)

    def test_clock(self):
        cost.check_clock("c", {"clock": figure(1.009)})
        for figures in ({}, {"clock": figure(0.13)}, {"clock": figure(1.02)}):
            with self.assertRaises(Failure):
                cost.check_clock("c", figures)


class Output(unittest.TestCase):
    def test_table(self):
        c = {"clock": figure(1), "a": Figure((1000, 1010, 1020), (2, 2, 2)), "b": figure(5)}
        rust = {"clock": figure(1), "a": figure(505, 1), "z": figure(7)}
        lines = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in cost.table(c, rust).splitlines()]
        self.assertEqual(lines[0], list(cost.HEAD))
        self.assertEqual(lines[2:], [
            ["a", "1,010", "505", "0.500", "1.98 %", "2.00", "1.00"],
            ["b", "5", "-", "-", "0.00 %", "2.00", "-"],
            ["z", "-", "7", "-", "0.00 %", "-", "2.00"],
        ])
        self.assertEqual(len({len(line) for line in cost.table(c, rust).splitlines()}), 1)

    def test_document(self):
        written = json.loads(json.dumps(cost.document("k", "0", {"a": figure(4)}, {"a": figure(2)})))
        self.assertEqual(written["rows"][0]["ratio"], 0.5)
        self.assertEqual(written["rows"][0]["c"]["costs"], [4])


    def test_table_in_a_document(self):
        text = "# x\n<!-- table: begin -->\nold\n<!-- table: end -->\ny\n"
        new = cost.replace_table(text, "new")
        self.assertEqual(new, text.replace("old", "new"))
        self.assertEqual(cost.replace_table(new, "old"), text)
        with self.assertRaises(ValueError):
            cost.replace_table("# x\n<!-- table: begin -->\n", "new")


class Gate(unittest.TestCase):
    def failed(self, c, rust):
        checks = cost.gate(c, rust)
        report = ktap.parse(cost.ktap(checks))
        self.assertEqual(report.errors, [])
        self.assertEqual(report.failed, sum(not holds for _, holds in checks))
        return [about for about, holds in checks if not holds]

    def test_limits_are_kept(self):
        self.assertEqual(self.failed(*content()), [])

    def test_each_limit(self):
        for row, bad, count in (("fault-read", figure(102.1), 1), ("register", figure(103), 1),
                                ("sleepers-4096", figure(112.3), 1), ("sleepers-0", figure(90), 1),
                                ("readers-64", figure(112.3, 2.06), 2)):
            c, rust = content()
            rust[row] = bad
            failed = self.failed(c, rust)
            self.assertEqual(len(failed), count, row)
            self.assertTrue(all(row in about for about in failed), failed)

    def test_a_missing_figure_fails(self):
        c, rust = content()
        del rust["readers-64"]
        self.assertEqual(len(self.failed(c, rust)), 2)
        self.assertEqual(len(self.failed({}, rust)), len(cost.GATE_ROWS["c"]) + 2)


class Options(unittest.TestCase):
    def test_bad_ones_are_one_line(self):
        for words in (["--gate", "--rows", "x"], ["--document", "--rows", "x"], ["--repeats", "0"], ["--json", "/nonexistent/x"]):
            run = subprocess.run([ROOT / "qemu" / "cost", *words], text=True, capture_output=True,
                                 check=False)
            self.assertEqual((run.returncode, run.stdout), (2, ""), words)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)


if __name__ == "__main__":
    unittest.main()
