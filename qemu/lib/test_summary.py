# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the readers of other tools' output and of the table."""

import tempfile
import unittest
from pathlib import Path

import summary
from summary import Row


def numbers(tally):
    return tally.passed, tally.failed, tally.skipped


class Readers(unittest.TestCase):
    def test_ktap(self):
        tally = summary.read_ktap("1..3\nok 1 a\nnot ok 2 b\n")
        self.assertEqual(numbers(tally), (1, 2, 0))
        self.assertEqual(tally.problems, ["not ok: b", "plan says 3 tests, 2 reported"])

    def test_cargo_adds_up_all_binaries(self):
        text = (
            "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n"
            "test m::b ... FAILED\n"
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n"
        )
        tally = summary.read_cargo(text)
        self.assertEqual(numbers(tally), (4, 1, 1))
        self.assertEqual(tally.problems, ["failed: m::b"])

    def test_cargo_that_did_not_compile(self):
        self.assertEqual(numbers(summary.read_cargo("error: could not compile\n")), (0, 0, 0))

    def test_unittest(self):
        self.assertEqual(numbers(summary.read_unittest("...\nRan 3 tests in 0.1s\n\nOK\n")), (3, 0, 0))
        text = (
            "FAIL: test_a (x.Y.test_a)\nRan 5 tests in 0.1s\n\n"
            "FAILED (failures=1, errors=1, skipped=1)\n"
        )
        tally = summary.read_unittest(text)
        self.assertEqual(numbers(tally), (2, 2, 1))
        self.assertEqual(tally.problems, ["failed: test_a (x.Y.test_a)"])

    def test_unittest_that_ran_nothing(self):
        text = "\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n"
        self.assertEqual(numbers(summary.read_unittest(text)), (0, 0, 0))
        self.assertEqual(numbers(summary.read_unittest("ImportError\n")), (0, 1, 0))


class Rows(unittest.TestCase):
    def test_round_trip(self):
        rows = [Row("a", "c", 1, 2, 3, 4.5), Row("b", "")]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sub" / "rows"
            summary.write_rows(path, rows)
            self.assertEqual(summary.read_rows(path), rows)

    def test_damaged_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows"
            for text in ("{", '{"suite": "a"}', '{"colour": 1}', "[]"):
                path.write_text(text)
                with self.assertRaises(ValueError, msg=text):
                    summary.read_rows(path)

    def test_table(self):
        text = summary.table([Row("a long name", "c", 1, 0, 0, 2.4), Row("b", "", 114, 0, 7, 60)])
        self.assertEqual(
            text.split("\n"),
            ["suite        flavour  passed  failed  skipped  seconds",
             "-----------  -------  ------  ------  -------  -------",
             "a long name  c             1       0        0        2",
             "b            -           114       0        7       60"],
        )

    def test_last_line(self):
        rows = [Row("a", "c", 1, 0, 5, 1), Row("b", "c", 2, 3, 0, 1)]
        self.assertEqual(summary.last_line(rows), "3 passed, 3 failed")


if __name__ == "__main__":
    unittest.main()
