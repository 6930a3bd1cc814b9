# SPDX-License-Identifier: GPL-2.0-only
"""Tests of files of results, of comparing two, and of the configuration's hash."""

import json
import tempfile
import unittest
from pathlib import Path

from bench import results
from bench.compare import compare
from bench.made_up import figure
from bench.made_up import results as made_up
from bench.results import config_hash
from common import Failure


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "new" / "results.json"

    def problem(self, text):
        path = self.folder / "file"
        path.write_text(text)
        with self.assertRaises(Failure) as caught:
            results.read(path)
        self.assertIn(str(path), str(caught.exception))
        return str(caught.exception)

    def test_there_and_back(self):
        found = made_up({"fault-read": (figure(3, 4), figure(2.5, extra={"x": 1.0})),
                         "sleepers-16": (None, 7), "memory-context": (1, 2),
                         ("throughput-4x1", 8): (100, 110)})
        results.write(self.path, found)
        self.assertEqual(results.read(self.path), found)
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["results.json"])

    def test_what_is_in_it(self):
        results.write(self.path, made_up({"fault-read": (figure(3, 4), None)}))
        found = json.loads(self.path.read_text())
        self.assertEqual(found["format"], results.FORMAT)
        for name in ("kernel", "config", "commit", "qemu", "date", "repeats", "images", "complete"):
            self.assertIn(name, found)
        self.assertEqual([sample["cost"] for sample in found["rows"][0]["c"]], [3, 4])
        self.assertIsNone(found["rows"][0]["rust"])

    def test_a_failure_leaves_the_old_file(self):
        results.write(self.path, made_up({"copy-1": (1, 1)}))
        old = self.path.read_text()
        with self.assertRaises(Failure):
            results.write(self.path / "below", made_up({"copy-1": (2, 2)}))
        self.assertEqual(self.path.read_text(), old)

    def test_bad_files(self):
        with self.assertRaises(Failure) as caught:
            results.read(self.path)
        self.assertIn("No such file", str(caught.exception))
        for text, words in (("", "not JSON"), ("[]", "not a file of results"), ("{}", "not a file of results"),
                            ('{"format": 1}', "format 1 of results; this program knows format 2"),
                            ('{"format": 2}', "damaged"), ('{"format": 2, "rows": [7]}', "damaged")):
            self.assertIn(words, self.problem(text))
        results.write(self.path, made_up({"copy-1": (1, 1)}))
        whole = json.loads(self.path.read_text())
        for row in ({"c": None, "rust": None}, {"c": [{"cost": 1}]}, {"odd": 1}):
            self.problem(json.dumps({**whole, "rows": [{**whole["rows"][0], **row}]}))
        del whole["qemu"]
        self.assertIn("qemu", self.problem(json.dumps(whole)))


class Config(unittest.TestCase):
    C = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_USERFAULTFD_C=y\n# CONFIG_USERFAULTFD_RUST is not set\n"
    RUST = ("CONFIG_A=y\n# CONFIG_USERFAULTFD_C is not set\nCONFIG_USERFAULTFD_RUST=y\n"
            "# CONFIG_USERFAULTFD_RUST_LAB is not set\n")

    def test_the_choice_does_not_count(self):
        self.assertEqual(config_hash([self.C, self.RUST]), config_hash([self.RUST, self.RUST]))

    def test_options_count(self):
        self.assertNotEqual(config_hash([self.C]), config_hash([self.C.replace("A=y", "A=m")]))

    def test_kernels_that_differ_otherwise(self):
        for other in (self.RUST.replace("A=y", "A=m"), self.RUST + "CONFIG_D=y\n"):
            with self.assertRaises(Failure) as caught:
                config_hash([self.C, other])
            self.assertRegex(str(caught.exception), "CONFIG_[AD]")


class Comparison(unittest.TestCase):
    def lines(self, a, b):
        return compare(a, b).splitlines()

    def test_what_moved(self):
        a = made_up({"fault-read": (figure(100, 101, 102), figure(99, 100, 101)), "copy-1": (50, 50)})
        b = made_up({"fault-read": (figure(102), figure(99)), "copy-1": (50, 50)})
        lines = self.lines(a, b)
        cells = [cell.strip() for cell in lines[5].strip("|").split("|")]
        self.assertEqual(cells, ["fault-read", "101", "102", "+0.99 %", "100", "99.0", "-1.00 %", "2.00 %", ""])
        self.assertEqual(lines[-1], "moved beyond the spread: nothing")
        b = made_up({"fault-read": (figure(104), figure(97)), "copy-1": (50, 49)})
        self.assertEqual(self.lines(a, b)[-1],
                         "moved beyond the spread: fault-read (C and Rust), copy-1 (Rust)")

    def test_rows_of_one_only(self):
        a = made_up({"fault-read": (1, 1), "copy-1": (1, None), ("throughput-4x1", 2): (5, 5)})
        b = made_up({"copy-1": (1, 2), "register": (1, 1), ("throughput-4x1", 4): (5, 5)})
        lines = self.lines(a, b)
        self.assertEqual(lines[-2:], ["only in A: fault-read, throughput-4x1, 2 CPUs",
                                      "only in B: register, throughput-4x1, 4 CPUs"])
        self.assertTrue(any(line.startswith("| copy-1") for line in lines))
        self.assertIn("no row is in both", compare(made_up({"register": (1, 1)}), made_up({"copy-1": (1, 1)})))

    def test_other_origins(self):
        a, b = made_up({"copy-1": (1, 1)}), made_up({"copy-1": (1, 1)}, commit="4567")
        self.assertIn("different commit: 0123 in A, 4567 in B", compare(a, b))
        self.assertNotIn("different", compare(a, a))


if __name__ == "__main__":
    unittest.main()
