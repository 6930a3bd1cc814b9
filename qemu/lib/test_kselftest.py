# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the list of selftest programs and of the verdict on their output."""

import unittest

import kselftest
from common import ROOT, Failure
from flavours import FLAVOURS
from kselftest import Run

TOML = """
[slower]
"*-debug" = 3

[[program]]
name = "one"
expect = 3
timeout = 60
mem = "1G"

[[program.skip]]
tests = ["slow"]
reason = "emulation has no such device"

[[program.skip]]
tests = ["huge"]
reason = "no huge pages there"
flavours = "rust-*"

[[program.fail]]
tests = ["bad"]
reason = "not offered yet"
flavours = "rust-*"

[[program]]
name = "two"
expect = 2
timeout = 60
runs = [["a", "1"], ["b", "2"]]
"""

ON_C = "1..4\nok 1 a\nok 2 huge\nok 3 bad\nok 4 slow # SKIP no\n"
ON_RUST = "1..4\nok 1 a\nok 2 # SKIP huge\nnot ok 3 bad\nok 4 slow # SKIP no\n"


def one(flavour="c"):
    return kselftest.load(TOML, flavour)[0]


def judge(text, status=0, flavour="c", problem=""):
    return kselftest.judge(one(flavour), [Run("one", text, status, problem)])


class Load(unittest.TestCase):
    def test_values_and_defaults(self):
        program, two = kselftest.load(TOML, "c")
        self.assertEqual((program.mem, program.smp, program.runs), ("1G", 2, ((),)))
        self.assertEqual(two.runs, (("a", "1"), ("b", "2")))
        self.assertEqual([two.title(run) for run in two.runs], ["two a", "two b"])

    def test_flavours(self):
        self.assertEqual((one().expect, one().timeout, list(one().skip), one().fail),
                         (3, 60, ["slow"], {}))
        small = one("rust-small")
        self.assertEqual((small.expect, small.timeout, list(small.skip), list(small.fail)),
                         (1, 60, ["slow", "huge"], ["bad"]))
        self.assertEqual(one("c-debug").timeout, 180)

    def assert_refused(self, text, part):
        with self.assertRaises(Failure) as caught:
            kselftest.load(text, "c")
        self.assertIn(part, str(caught.exception))

    def test_bad_files(self):
        self.assert_refused("[[program", "kselftest.toml")
        self.assert_refused("", "no programs")
        self.assert_refused("[[program]]\nexpect = 1\n", "without a name")
        self.assert_refused('[[program]]\nname = "x"\nexpect = 1\n', "timeout")
        self.assert_refused(TOML + 'skips = 1\n', "unknown key skips")
        self.assert_refused(TOML + '[[program.skip]]\ntests = ["x"]\n', "without a reason")
        self.assert_refused(TOML + '[[program.fail]]\nreason = "x"\n', "a fail without tests")
        twice = '[[program.skip]]\ntests = ["x", "x"]\nreason = "y"\n'
        self.assert_refused(TOML + twice, "x is listed twice")
        self.assert_refused(TOML.replace("slower", "faster"), "unknown table")
        self.assert_refused(TOML.replace("= 3\n\n[[", "= 0.5\n\n[[", 1), "whole number")
        self.assert_refused(TOML + TOML[TOML.index("[[program]]"):], "listed twice")

    def test_select(self):
        programs = kselftest.load(TOML, "c")
        self.assertEqual([p.name for p in kselftest.select(programs, [])], ["one", "two"])
        self.assertEqual([p.name for p in kselftest.select(programs, ["two"])], ["two"])
        with self.assertRaises(Failure) as caught:
            kselftest.select(programs, ["tow"])
        self.assertIn("one, two", str(caught.exception))

    def test_committed_file(self):
        text = (ROOT / "qemu" / "kselftest.toml").read_text()
        on_c = kselftest.load(text, "c")
        for flavour in FLAVOURS:
            for program, c in zip(kselftest.load(text, flavour), on_c):
                # What C runs is run, skipped or failing: nothing is lost.
                listed = len(program.skip) - len(c.skip) + len(program.fail) - len(c.fail)
                self.assertEqual(program.expect + listed, c.expect, program.name)


class Judge(unittest.TestCase):
    def test_pass(self):
        tally = judge(ON_C)
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (3, 0, 1))

    def test_listed_on_one_flavour(self):
        tally = judge(ON_RUST, status=1, flavour="rust-debug")
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (1, 0, 3), tally.problems)

    def test_unlisted_skip_fails(self):
        tally = judge(ON_C.replace("2 huge", "2 # SKIP huge"))
        self.assertEqual((tally.failed, tally.skipped), (2, 1))
        self.assertIn("skipped, and not on the list: huge", tally.problems[0])

    def test_listed_tests_that_run(self):
        tally = judge(ON_C, flavour="rust-debug")
        self.assertEqual(tally.problems, ["listed as skipped, but it is not: huge",
                                          "listed as failing, but it is not: bad"])
        tally = judge(ON_C.replace(" # SKIP no", ""))
        self.assertEqual(tally.problems, ["listed as skipped, but it is not: slow"])

    def test_status_of_listed_failures(self):
        self.assertEqual(judge(ON_RUST, status=0, flavour="rust-debug").problems, [])
        self.assertEqual(judge(ON_RUST, status=139, flavour="rust-debug").problems,
                         ["one: exit status 139 although only listed tests failed"])

    def test_too_few_passes(self):
        tally = judge("1..3\nok 1 a\nok 2 huge\nok 3 slow # SKIP no\n")
        self.assertEqual(tally.problems, ["2 passed, at least 3 are expected"])

    def test_status_without_failed_test(self):
        self.assertEqual(judge(ON_C, status=1).problems,
                         ["one: exit status 1 although no test failed"])

    def test_failed_test_explains_the_status(self):
        tally = judge("1..4\nok 1 a\nok 2 b\nok 3 c\nnot ok 4 d\n", status=1)
        self.assertEqual(tally.problems, ["one: not ok: d"])

    def test_timeout(self):
        tally = judge(ON_C, status=None, problem="ran out of time (5 s)")
        self.assertEqual(tally.problems, ["one: ran out of time (5 s)"])

    def test_truncated(self):
        self.assertEqual(judge("1..5\n" + ON_C.partition("\n")[2], status=1).failed, 1)

    def test_several_runs_add_up(self):
        program = kselftest.load(TOML, "c")[1]
        good = Run("two a", "1..1\nok 1 a\n", 0)
        tally = kselftest.judge(program, [good, good])
        self.assertEqual((tally.passed, tally.failed), (2, 0))
        tally = kselftest.judge(program, [good, Run("two b", "", 1)])
        self.assertEqual(tally.passed, 1)
        self.assertGreater(tally.failed, 0)


if __name__ == "__main__":
    unittest.main()
