# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the KTAP reader."""

import unittest

import ktap


def counts(text):
    report = ktap.parse(text)
    return report.passed, report.count(ktap.FAIL), report.skipped


class Flat(unittest.TestCase):
    def test_passes_and_failures(self):
        report = ktap.parse("KTAP version 1\n1..3\nok 1 a\nnot ok 2 b\nok 3 - c\n")
        self.assertEqual((report.passed, report.failed, report.skipped), (2, 1, 0))
        self.assertEqual(report.errors, [])
        self.assertEqual([case.name for case in report.cases], ["a", "b", "c"])

    def test_plan_may_come_last(self):
        self.assertEqual(ktap.parse("ok 1 a\nok 2 b\n1..2\n").errors, [])

    def test_selftest_dialect(self):
        # No version line, directive before the name, chatter in between.
        text = (
            "# [RUN] x\n1..4\nok 1 # SKIP swap (off)\nok 2 # XFAIL overlap\n\tnote\n"
            "ok 3 plain # SKIP why not\nnot ok 4 # error broken\n# Totals: pass:1\n"
        )
        report = ktap.parse(text)
        self.assertEqual((report.passed, report.failed, report.skipped), (1, 1, 2))
        self.assertEqual(report.cases[0].name, "swap (off)")
        self.assertEqual(report.cases[2], ktap.Case("plain", ktap.SKIP, "why not"))

    def test_todo(self):
        # A failing TODO is not a success either: it counts as skipped.
        self.assertEqual(counts("1..2\nnot ok 1 a # TODO later\nok 2 b # TODO done\n"), (1, 0, 1))

    def test_failed_skip_is_a_failure(self):
        self.assertEqual(counts("1..1\nnot ok 1 a # SKIP no\n"), (0, 1, 0))

    def test_timeout_and_unexpected_pass_are_failures(self):
        self.assertEqual(counts("1..2\nok 1 a # XPASS\nnot ok 2 b # TIMEOUT\n"), (0, 2, 0))

    def test_hash_inside_a_name(self):
        report = ktap.parse("1..2\nok 1 issue #7 of x\nok 2 a#SKIPped\n")
        self.assertEqual([case.name for case in report.cases], ["issue #7 of x", "a#SKIPped"])
        self.assertEqual(report.passed, 2)

    def test_carriage_returns(self):
        self.assertEqual(ktap.parse("1..1\r\nok 1 a\r\n").errors, [])

    def test_skip_all(self):
        report = ktap.parse("TAP version 13\n1..0 # SKIP no userfaultfd\n")
        self.assertEqual((report.passed, report.failed, report.skipped), (0, 0, 1))


class Malformed(unittest.TestCase):
    def assert_error(self, text, part):
        report = ktap.parse(text)
        self.assertTrue(any(part in e for e in report.errors), report.errors)
        self.assertGreater(report.failed, 0)

    def test_too_few_results(self):
        self.assert_error("1..3\nok 1 a\nok 2 b\n", "plan says 3 tests, 2 reported")

    def test_too_many_results(self):
        self.assert_error("1..1\nok 1 a\nok 2 b\n", "plan says 1 tests, 2 reported")

    def test_no_plan(self):
        self.assert_error("KTAP version 1\nok 1 a\n", "no plan")

    def test_nothing(self):
        self.assert_error("", "no test results")
        self.assert_error("1..0\n", "no test results")
        self.assert_error("Segmentation fault\n", "no test results")

    def test_two_plans(self):
        self.assert_error("1..1\n1..1\nok 1 a\n", "second plan")

    def test_two_headers(self):
        self.assert_error("KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n", "second header")

    def test_wrong_number(self):
        report = ktap.parse("1..3\nok 1 a\nok 3 c\n")
        self.assertEqual(report.errors, ["result number 3 where 2 was expected"])

    def test_repeated_number(self):
        self.assert_error("1..2\nok 1 a\nok 1 a\n", "result number 1 where 2")

    def test_no_number(self):
        self.assert_error("1..1\nok - a\n", "without a number")

    def test_bail_out(self):
        report = ktap.parse("1..5\nok 1 a\nBail out! no memory\n# Totals: pass:1\n")
        self.assertEqual(report.errors, ["Bail out! no memory"])
        self.assertEqual((report.passed, report.failed), (1, 1))

    def test_prose_is_not_a_result(self):
        self.assertEqual(ktap.parse("1..1\nokay then\nnot okay 3\nok 1 a\n").errors, [])


NESTED = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: outer
    1..2
        KTAP version 1
        # Subtest: inner
        1..2
        ok 1 a
        {inner} 2 b
    {inner} 1 inner
    ok 2 c
{inner} 1 outer
    KTAP version 1
    1..1
    ok 1 d
ok 2 last
"""


class Nested(unittest.TestCase):
    def test_leaves_are_counted_once(self):
        report = ktap.parse(NESTED.format(inner="ok"))
        self.assertEqual(report.errors, [])
        self.assertEqual(
            [case.name for case in report.cases],
            ["outer/inner/a", "outer/inner/b", "outer/c", "last/d"],
        )

    def test_failure_of_a_leaf_counts_once(self):
        report = ktap.parse(NESTED.format(inner="not ok"))
        self.assertEqual((report.passed, report.failed), (3, 1))

    def test_parent_failing_by_itself(self):
        report = ktap.parse("1..1\n    1..1\n    ok 1 a\nnot ok 1 suite\n")
        self.assertEqual((report.passed, report.failed), (1, 1))

    def test_leaf_failing_under_a_passing_parent(self):
        self.assertEqual(counts("1..1\n    1..1\n    not ok 1 a\nok 1 suite\n"), (0, 1, 0))

    def test_inner_plan_mismatch(self):
        report = ktap.parse("1..1\n    1..2\n    ok 1 a\nok 1 suite\n")
        self.assertEqual(report.errors, ["level 1: plan says 2 tests, 1 reported"])

    def test_cut_off_inside_a_subtest(self):
        report = ktap.parse("1..1\n    1..1\n    not ok 1 a\n")
        self.assertEqual(report.count(ktap.FAIL), 1)
        self.assertIn("subtests without their parent's result", report.errors)
        self.assertIn("plan says 1 tests, 0 reported", report.errors)

    def test_parent_without_header(self):
        report = ktap.parse("    1..1\n    ok 1 a\nok 1 suite\n1..1\n")
        self.assertEqual(report.errors, [])
        self.assertEqual(report.cases[0].name, "suite/a")


class Console(unittest.TestCase):
    def test_time_stamps_and_noise(self):
        log = (
            "[    0.000000] Linux version\r\n"
            "[    1.000000] KTAP version 1\r\n"
            "[    1.000001] 1..1\r\n"
            "[    1.000002][    T1]     KTAP version 1\r\n"
            "[    1.000003]     1..1\r\n"
            "[    1.000004] something else: ready\r\n"
            "[    1.000005]     ok 1 a\r\n"
            "[    1.000006] ok 1 suite\r\n"
            "[    1.000007] Run /init as init process\r\n"
        )
        report = ktap.parse(ktap.strip_console(log))
        self.assertEqual((report.passed, report.errors), (1, []))

    def test_no_header(self):
        self.assertEqual(ktap.strip_console("[ 1.0] boot\n"), "")


if __name__ == "__main__":
    unittest.main()
