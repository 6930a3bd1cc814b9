# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the table, of the documentation's parts, and of bad options."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import marks
from bench import document, table
from bench.made_up import ROWS, figure, results
from bench.samples import Row
from common import ROOT


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


FOUND = results({
    "fault-read": (figure(1000, 1010, 1020), figure(505, switches=1)), "register": (5, None),
    "memory-context": (96, 104), "sleepers-0": (None, 7), "sleepers-16": (10, 20),
    ("throughput-4x1", 2): (figure(900, extra={"waits": 20.0}), figure(1800, extra={"waits": 0.0})),
    ("throughput-4x1", 4): (figure(900), None)})


class Tables(unittest.TestCase):
    def test_counted(self):
        blocks = dict(table.blocks(FOUND))
        self.assertEqual(list(blocks), ["round trip", "requests", "growth", "memory", "throughput"])
        self.assertEqual(cells(blocks["memory"][0]), list(table.HEAD))
        self.assertEqual(cells(blocks["round trip"][2]),
                         ["fault-read", "1,010", "505", "0.500", "1.98 %", "2.00", "1.00"])
        self.assertEqual(cells(blocks["requests"][2]), ["register", "5.0", "-", "-", "0.00 %", "2.00", "-"])
        self.assertEqual(cells(blocks["memory"][2])[:4], ["memory-context [bytes]", "96.0", "104", "1.083"])
        self.assertEqual(len(blocks["growth"]), 4)
        wide = {len(line) for group, lines in blocks.items() if group != "throughput" for line in lines}
        self.assertEqual(len(wide), 1)

    def test_throughput(self):
        lines = dict(table.blocks(FOUND))["throughput"]
        self.assertEqual([cells(line) for line in (lines[0], *lines[2:])], [
            ["row, faults/s", *table.HEAD[1:], "waits C", "waits Rust"],
            ["throughput-4x1, 2 CPUs", "900", "1,800", "2.000", "0.00 %", "2.00", "2.00", "20.000", "0.000"],
            ["throughput-4x1, 4 CPUs", "900", "-", "-", "0.00 %", "2.00", "-", "-", "-"]])

    def test_terminal(self):
        text = table.terminal(FOUND)
        self.assertEqual(text.count("| row "), 1)
        self.assertEqual(text.count("| row, "), 1)
        self.assertIn("Several CPUs: emulation", text)
        self.assertTrue(text.startswith("Round trips\n| row "), text[:40])
        self.assertNotIn("emulation", table.terminal(results({"copy-1": (1, 1)})))
        self.assertIn("emulation", table.terminal(results({("throughput-4x1", 2): (1, 1)})))

    def test_targets(self):
        self.assertIn("every row", table.misses([]))
        self.assertEqual(table.misses(["a", "b"]), "targets missed: 2\n  a\n  b")


class Document(unittest.TestCase):
    def test_each_row_is_explained(self):
        text = marks.replace("<!-- rows: begin -->\n<!-- rows: end -->\n", "rows", document.rows_part(ROWS))
        self.assertTrue(document.explains(text, ROWS))
        for row in ROWS:
            self.assertIn(f"| `{row.name}` | {row.about} |", text)
        self.assertFalse(document.explains(text, ROWS[1:]))
        self.assertFalse(document.explains(text, [*ROWS, Row("new", "a row", "memory")]))
        self.assertFalse(document.explains("", ROWS))

    def test_all_marks_are_in_the_document(self):
        text = document.DOCUMENT.read_text(encoding="utf-8")
        for name, part in {"rows": "", **document.parts(FOUND)}.items():
            with self.subTest(name):
                marks.replace(text, name, part)

    def test_parts(self):
        parts = document.parts(FOUND)
        self.assertIn("### Round trips\n\n| row ", parts["table"])
        self.assertNotIn("throughput", parts["table"])
        self.assertNotIn("###", parts["throughput"])
        self.assertIn("](plots/", document.parts(results(
            {"readers-1": (1, 1), "readers-4": (1, 1)}))["plots"])
        self.assertEqual(document.parts(results({"copy-1": (1, 1)}))["throughput"], "Not measured.")

    def test_old_pictures_go(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "plots"
            document.write_plots(folder, {"a": "1", "b": "2"})
            document.write_plots(folder, {"b": "3"})
            self.assertEqual([(p.name, p.read_text()) for p in folder.iterdir()], [("b.svg", "3")])


class Options(unittest.TestCase):
    def test_bad_ones_are_one_line(self):
        for words, message in (
                (["--gate", "x"], "its own rows"), (["--document", "x"], "all rows"),
                (["--document", "--group", "memory"], "all rows"), (["--document", "--gate"], "--gate"),
                (["--repeats", "0"], "from 1 to 1000"), (["--list", "--repeats", "2"], "measures nothing"),
                (["--json", "/nonexistent/x"], "no such folder"), (["--list", "--gate"], "exclude each other"),
                (["--compare", "/nonexistent/a", "/nonexistent/b"], "No such file"),
                (["--show", "/nonexistent/a"], "No such file"), (["--explain", "x"], "its own rows"),
                (["--show", "a", "--json", "b"], "measures nothing"),
                (["--gate", "--resume"], "leaves nothing unfinished")):
            run = subprocess.run([sys.executable, "-B", ROOT / "qemu" / "bench", *words], text=True,
                                 capture_output=True, check=False)
            with self.subTest(words):
                self.assertEqual((run.returncode, run.stdout), (2, ""), run.stderr)
                self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
                self.assertIn(message, run.stderr)


if __name__ == "__main__":
    unittest.main()
