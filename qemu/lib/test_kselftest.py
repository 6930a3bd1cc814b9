# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the list of selftest programs and of the verdict on their output."""

import unittest

import kselftest
from common import ROOT, Failure
from flavours import FLAVOURS
from kselftest import Run

TOML = """
[[program]]
name = "one"
expect = 2
timeout = 60
mem = "1G"

[[program.skip]]
tests = ["slow *"]
reason = "emulation has no such device"

[[program.skip]]
tests = ["huge"]
reason = "no huge pages there"
flavours = ["rust-small"]

[program.flavour.rust-small]
expect = 1
timeout = 90

[[program]]
name = "two"
expect = 2
timeout = 60
runs = [["a", "1"], ["b", "2"]]
"""


def one(flavour="c"):
    return kselftest.load(TOML, flavour)[0]


def judge(text, status=0, flavour="c", problem=""):
    program = one(flavour)
    return kselftest.judge(program, flavour, [Run("one", text, status, problem)])


class Load(unittest.TestCase):
    def test_values_and_defaults(self):
        program, two = kselftest.load(TOML, "c")
        self.assertEqual((program.mem, program.smp, program.runs), ("1G", 2, ((),)))
        self.assertEqual(two.runs, (("a", "1"), ("b", "2")))
        self.assertEqual([two.title(run) for run in two.runs], ["two a", "two b"])

    def test_flavour_overrides(self):
        self.assertEqual((one().expect, one().timeout), (2, 60))
        small = one("rust-small")
        self.assertEqual((small.expect, small.timeout, small.mem), (1, 90, "1G"))

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
        self.assert_refused(TOML + '[program.flavour.c]\nskip = []\n', "unknown key for flavour c")
        self.assert_refused(TOML + TOML, "listed twice")

    def test_select(self):
        programs = kselftest.load(TOML, "c")
        self.assertEqual([p.name for p in kselftest.select(programs, [])], ["one", "two"])
        self.assertEqual([p.name for p in kselftest.select(programs, ["two"])], ["two"])
        with self.assertRaises(Failure) as caught:
            kselftest.select(programs, ["tow"])
        self.assertIn("one, two", str(caught.exception))

    def test_committed_file(self):
        text = (ROOT / "qemu" / "kselftest.toml").read_text()
        for flavour in FLAVOURS:
            for program in kselftest.load(text, flavour):
                for skip in program.skip:
                    self.assertLessEqual(set(skip.flavours), set(FLAVOURS), program.name)


class Judge(unittest.TestCase):
    def test_pass(self):
        tally, _ = judge("1..2\nok 1 a\nok 2 b\n")
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (2, 0, 0))

    def test_allowed_skip(self):
        tally, unused = judge("1..3\nok 1 a\nok 2 b\nok 3 slow thing # SKIP no\n")
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (2, 0, 1))
        self.assertEqual(unused, [])

    def test_unlisted_skip_fails(self):
        tally, unused = judge("1..3\nok 1 a\nok 2 b\nok 3 # SKIP huge\n")
        self.assertEqual((tally.failed, tally.skipped), (1, 0))
        self.assertIn("huge", tally.problems[0])
        self.assertEqual([s.tests for s in unused], [("slow *",)])

    def test_skip_of_another_flavour(self):
        tally, _ = judge("1..2\nok 1 a\nok 2 # SKIP huge\n", flavour="rust-small")
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (1, 0, 1))

    def test_too_few_passes(self):
        tally, _ = judge("1..1\nok 1 a\n")
        self.assertEqual(tally.problems, ["1 passed, at least 2 are expected"])

    def test_status_without_failed_test(self):
        tally, _ = judge("1..2\nok 1 a\nok 2 b\n", status=1)
        self.assertEqual(tally.failed, 1)
        self.assertIn("exit status 1", tally.problems[0])

    def test_failed_test_explains_the_status(self):
        tally, _ = judge("1..3\nok 1 a\nok 2 b\nnot ok 3 c\n", status=1)
        self.assertEqual(tally.problems, ["one: not ok: c"])

    def test_timeout(self):
        tally, _ = judge("1..2\nok 1 a\nok 2 b\n", status=None, problem="ran out of time (5 s)")
        self.assertEqual(tally.problems, ["one: ran out of time (5 s)"])

    def test_truncated(self):
        tally, _ = judge("1..3\nok 1 a\nok 2 b\n", status=1)
        self.assertEqual(tally.failed, 1)

    def test_several_runs_add_up(self):
        program = kselftest.load(TOML, "c")[1]
        good = Run("two a", "1..1\nok 1 a\n", 0)
        tally, _ = kselftest.judge(program, "c", [good, good])
        self.assertEqual((tally.passed, tally.failed), (2, 0))
        tally, _ = kselftest.judge(program, "c", [good, Run("two b", "", 1)])
        self.assertEqual(tally.passed, 1)
        self.assertGreater(tally.failed, 0)


if __name__ == "__main__":
    unittest.main()
