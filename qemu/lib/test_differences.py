# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the list of differences between the implementations."""

import fnmatch
import re
import unittest

import differences
from common import Failure
from flavours import EVERY_FLAVOUR

# Modules that test what the Rust implementation has beyond C.
OURS = {"observe", "perf", "statistics"}

TOML = """
[[skip]]
reason = "not offered: WP"
flavours = "rust*"
tests = ["a::b", "a::c"]

[[skip]]
reason = "one processor"
flavours = "c-debug rust-small"
tests = ["a::d"]

[[differ]]
tests = ["a::e"]
c = "this"
rust = "that"

[[lacks]]
reason = "later"
flavours = "rust*"
features = ["EVENT_A", "EVENT_B"]
"""


class Load(unittest.TestCase):
    def test_flavours(self):
        both = {"a::b": "not offered: WP", "a::c": "not offered: WP"}
        self.assertEqual(differences.skips(TOML, "rust"), both)
        self.assertEqual(differences.skips(TOML, "rust-small"), {**both, "a::d": "one processor"})
        self.assertEqual(differences.skips(TOML, "c"), {})
        self.assertEqual(differences.skips(TOML, "c-debug"), {"a::d": "one processor"})
        self.assertEqual(differences.lacks(TOML, "rust-debug"), {"EVENT_A", "EVENT_B"})
        self.assertEqual(differences.lacks(TOML, "c-debug"), set())

    def test_bad_files(self):
        for text, part in (
                ("[[skip]", "differences.toml:"),
                ("[[slip]]\na = 1\n", "unknown table"),
                ('[[skip]]\nflavours = "c"\ntests = ["a"]\n', "each skip has"),
                ('[[skip]]\nreason = ""\nflavours = "c"\ntests = ["a"]\n', "each skip has"),
                (TOML + TOML, "a::b is listed twice for rust")):
            with self.assertRaises(Failure) as caught:
                differences.skips(text, "rust")
            self.assertIn(part, str(caught.exception))


class RealList(unittest.TestCase):
    def setUp(self):
        self.data = differences.load(differences.PATH.read_text())

    def test_tests_exist(self):
        for kind in ("skip", "differ"):
            for entry in self.data.get(kind, ()):
                for test in entry["tests"]:
                    module, name = test.rsplit("::", 1)
                    source = differences.PATH.parent / "src" / "tests" / module.replace("::", "/")
                    self.assertRegex(source.with_suffix(".rs").read_text(),
                                     rf"\bfn {re.escape(name)}\(")

    def test_flavours_exist(self):
        for entry in (*self.data.get("skip", ()), *self.data.get("lacks", ())):
            for pattern in entry["flavours"].split():
                self.assertTrue(fnmatch.filter(EVERY_FLAVOUR, pattern), entry)
        for flavour in EVERY_FLAVOUR:
            differences.guest_skips(flavour)

    def test_features_exist(self):
        names = (differences.PATH.parents[1] / "uffd" / "src" / "abi.rs").read_text()
        for feature in differences.guest_lacks("rust"):
            self.assertRegex(names, rf"\bUFFD_FEATURE_{feature}\b")

    def test_c_misses_only_what_is_ours(self):
        for flavour in ("c", "c-debug"):
            skipped = {test.split("::")[0] for test in differences.guest_skips(flavour)}
            self.assertLessEqual(skipped, OURS)
            self.assertEqual(differences.guest_lacks(flavour), set())


if __name__ == "__main__":
    unittest.main()
