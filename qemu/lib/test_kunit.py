# SPDX-License-Identifier: GPL-2.0-only
"""Tests of reading the kernel's unit tests."""

import tempfile
import unittest
from pathlib import Path

import ktap
import kunit

CONSOLE = """\
[    0.100000] Linux version 7.3.4
[    1.000000] KTAP version 1\r
[    1.000001] 1..2
[    1.000002]     KTAP version 1
[    1.000003]     # Subtest: first
[    1.000004]     1..2
[    1.000005] clocksource: switched
[    1.000006]     ok 1 a
[    1.000007]     # b: ASSERTION FAILED at rust/x.rs:7
[    1.000008]     Expected 1 == 2 to be true, but is false
[    1.000009]     not ok 2 b
[    1.000010] # first: pass:1 fail:1 skip:0 total:2
[    1.000011] not ok 1 first
[    1.000012]     KTAP version 1
[    1.000013]     1..1
[    1.000014]     ok 1 c # SKIP
[    1.000015] ok 2 second
[    1.100000] # not of the tests
[    1.200000] ok 3 neither
"""


class Extract(unittest.TestCase):
    def test_ends_with_the_last_result(self):
        lines = kunit.extract(CONSOLE).splitlines()
        self.assertEqual((lines[0], lines[-1]), ("KTAP version 1", "ok 2 second"))
        self.assertNotIn("clocksource: switched", lines)
        self.assertIn("    Expected 1 == 2 to be true, but is false", lines)

    def test_is_what_the_reader_reads(self):
        report = ktap.parse(kunit.extract(CONSOLE))
        self.assertEqual((report.passed, report.failed, report.skipped), (1, 1, 1))
        self.assertEqual(report.errors, [])

    def test_cut_short(self):
        text = kunit.extract(CONSOLE[:CONSOLE.index("not ok 1 first")])
        self.assertTrue(ktap.parse(text).errors)

    def test_nothing(self):
        self.assertEqual(kunit.extract("[    0.1] boot\n"), "")


class Suites(unittest.TestCase):
    def test_missing(self):
        text = kunit.extract(CONSOLE)
        self.assertEqual(kunit.missing(text, ["first", "second"]), [])
        self.assertEqual(kunit.missing(text, ["first", "third"]), ["third"])

    def test_names_in_the_source(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "sub", "x.rs")
            file.parent.mkdir()
            file.write_text("#[kunit_tests(one)]\nmod tests {}\n#[kernel::prelude::kunit_tests(two)]\n"
                            "// #[kunit_tests(not_this)]\n")
            self.assertEqual(kunit.suites_in(Path(folder)), ["one", "two"])
