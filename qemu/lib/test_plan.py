# SPDX-License-Identifier: GPL-2.0-only
"""Tests of choosing suites and of the verdict on each."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import plan
import summary
from common import Failure
from job import Outcome
from suites import SUITES, Suite
from summary import Row


def suite(name, **kwargs):
    return Suite(name, f"about {name}", lambda flavour: ["true"], budget=1, **kwargs)


FEW = (
    suite("host"),
    suite("build", flavours=("c",), long=("slow",)),
    suite("guest", flavours=("c",), long=("slow",), needs=("build", "host")),
    suite("extra", flavours=(), long=("c",)),
    suite("both", flavours=(), long=("c",), needs=("build",), needs_also=(("build", "slow"),)),
)


def keys(items):
    return [i.key for i in items]


class Choose(unittest.TestCase):
    def choose(self, **kwargs):
        chosen, left_out = plan.choose(suites=FEW, **kwargs)
        # Whatever the choice, every item is either run or named as left out.
        self.assertEqual(sorted(keys(chosen) + keys(left_out)), sorted(keys(plan.all_items(FEW))))
        return keys(chosen)

    def test_usual_run(self):
        self.assertEqual(self.choose(), [("host", ""), ("build", "c"), ("guest", "c")])

    def test_long_run_has_everything(self):
        self.assertEqual(len(self.choose(long=True)), 7)

    def test_only_brings_what_it_needs(self):
        self.assertEqual(self.choose(only=["guest"]), [("host", ""), ("build", "c"), ("guest", "c")])
        self.assertEqual(self.choose(only=["build"]), [("build", "c")])
        self.assertEqual(self.choose(only=["both"]),
                         [("build", "c"), ("build", "slow"), ("both", "c")])

    def test_asked_for_by_name_needs_no_long(self):
        self.assertEqual(self.choose(only=["extra"]), [("extra", "c")])
        self.assertEqual(self.choose(only=["build"], flavours=["slow"]), [("build", "slow")])

    def test_unknown_names(self):
        for kwargs, part in (({"only": ["gest"]}, "host build guest extra both"),
                             ({"flavours": ["d"]}, "c slow")):
            with self.assertRaises(Failure) as caught:
                self.choose(**kwargs)
            self.assertIn(part, str(caught.exception))

    def test_nothing_left(self):
        with self.assertRaises(Failure) as caught:
            self.choose(only=["host"], flavours=["c"])
        self.assertIn("host runs on the host", str(caught.exception))

    def test_real_list(self):
        items = plan.all_items(SUITES)
        self.assertEqual(len(set(keys(items))), len(items))
        names = [s.name for s in SUITES]
        for item in items:
            for name in item.suite.needs:
                self.assertLess(names.index(name), names.index(item.suite.name))
            self.assertTrue(not item.suite.needs or plan.needed(item, items), item.title)


class Judge(unittest.TestCase):
    def judge(self, text="", status=0, problem="", **kwargs):
        item = plan.Item(suite("x", **kwargs), "c")
        return plan.judge(item, Outcome(status, 1.5, problem), text)

    def row(self, *args, **kwargs):
        result = self.judge(*args, **kwargs)
        self.assertEqual(len(result.rows), 1)
        row = result.rows[0]
        self.assertEqual(bool(row.failed), bool(result.problems), result.problems)
        return row.passed, row.failed, row.skipped

    def test_exit_status_alone(self):
        self.assertEqual(self.row(), (1, 0, 0))
        self.assertEqual(self.row(status=1), (0, 1, 0))
        self.assertEqual(self.row(status=None, problem="ran out of time"), (0, 1, 0))

    def test_ktap(self):
        read = summary.read_ktap
        self.assertEqual(self.row("1..1\nok 1 a\n", read=read), (1, 0, 0))
        self.assertEqual(self.row("1..1\nnot ok 1 a\n", 1, read=read), (0, 1, 0))
        # A guest that dies after its last line has not passed.
        self.assertEqual(self.row("1..1\nok 1 a\n", 255, read=read), (1, 1, 0))
        self.assertEqual(self.row("1..2\nok 1 a\n", 1, read=read), (1, 1, 0))
        self.assertEqual(self.row("", 0, read=read), (0, 1, 0))

    def test_failures_with_a_good_status(self):
        self.assertEqual(self.row("1..1\nnot ok 1 a\n", read=summary.read_ktap), (0, 1, 0))

    def test_zero_tests(self):
        text = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n"
        self.assertEqual(self.row(text, read=summary.read_cargo), (0, 1, 0))

    def test_skips(self):
        text = "1..2\nok 1 a\nok 2 b # SKIP no\n"
        read = summary.read_ktap
        self.assertEqual(self.row(text, read=read), (1, 1, 0))
        self.assertIn("not listed so: b # no", self.judge(text, read=read).problems[0])
        self.assertEqual(self.row(text, read=read, skips=lambda flavour: {"b": "no"}), (1, 0, 1))
        # Another reason is another skip.
        self.assertEqual(self.row(text, read=read, skips=lambda flavour: {"b": "yes"}), (1, 1, 0))
        both = {"a": "no", "b": "no"}
        self.assertEqual(self.row(text, read=read, skips=lambda flavour: both), (1, 1, 1))
        text = "1..2\nnot ok 1 c\nok 2 b # SKIP no\n"
        self.assertEqual(self.row(text, read=read, skips=lambda flavour: both), (0, 1, 1))
        text = "1..1\nok 1 b # SKIP no\n"
        self.assertEqual(self.row(text, read=read, skips=lambda flavour: {"b": "no"}), (0, 1, 1))

    def test_skips_without_names(self):
        text = "test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured\n"
        self.assertEqual(self.row(text, read=summary.read_cargo), (3, 2, 0))

    def test_killed(self):
        text = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n"
        self.assertEqual(
            self.row(text, -9, "killed by SIGKILL", read=summary.read_cargo), (3, 1, 0))

    def test_blocked(self):
        build, guest = plan.all_items(FEW)[1], plan.all_items(FEW)[3]
        result = plan.blocked(guest, build)
        self.assertEqual((result.failed, result.problems), (1, ["not run: build (c) failed"]))


class JudgeRows(unittest.TestCase):
    def judge(self, rows, status=0, problem=""):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows"
            if rows is not None:
                summary.write_rows(path, rows)
            with mock.patch.object(plan, "rows_file", return_value=path):
                return plan.judge(plan.Item(suite("x", rows=True), "c"),
                                  Outcome(status, 2.0, problem), "")

    def test_good(self):
        result = self.judge([Row("a", "c", 3, 0, 1, 1.0), Row("b", "c", 1)])
        self.assertEqual((len(result.rows), result.failed, result.problems), (2, 0, []))

    def test_failed_row(self):
        result = self.judge([Row("a", "c", 3, 2)], status=1)
        self.assertEqual((result.failed, result.problems), (2, ["a: 2 failed"]))

    def test_missing_or_empty(self):
        self.assertEqual(self.judge(None).failed, 1)
        self.assertEqual(self.judge([]).failed, 1)
        self.assertEqual(self.judge([Row("a", "c", skipped=4)]).failed, 1)

    def test_status_and_time(self):
        self.assertEqual(self.judge([Row("a", "c", 1)], status=1).failed, 1)
        self.assertEqual(self.judge([Row("a", "c", 1)], None, "ran out of time").failed, 1)


if __name__ == "__main__":
    unittest.main()
