# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the parts of documents that commands write."""

import tempfile
import unittest
from pathlib import Path

import marks
from common import Failure

TEXT = "# x\n<!-- rows: begin -->\nold\n<!-- rows: end -->\ny\n<!-- z: begin -->\n<!-- z: end -->\n"


class Marks(unittest.TestCase):
    def test_a_part_is_replaced(self):
        new = marks.replace(TEXT, "rows", "new\n\n")
        self.assertEqual(new, TEXT.replace("old", "new"))
        self.assertEqual(marks.replace(new, "rows", "old"), TEXT)

    def test_marks_that_are_not_there(self):
        for bad in ("# x\n", "<!-- rows: begin -->\n", TEXT.replace("rows: end", "rows: stop")):
            with self.assertRaises(ValueError):
                marks.replace(bad, "rows", "new")

    def test_what_stands_there(self):
        self.assertTrue(marks.holds(TEXT, "rows", "old\n"))
        for name, part in (("rows", "ol"), ("rows", "new"), ("z", "old"), ("odd", "old")):
            self.assertFalse(marks.holds(TEXT, name, part), (name, part))

    def test_a_file_changes_as_a_whole(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.md"
            with self.assertRaises(Failure):
                marks.write(path, {"rows": "new"})
            path.write_text(TEXT)
            with self.assertRaises(Failure) as caught:
                marks.write(path, {"rows": "new", "odd": "part"})
            self.assertIn("no marks for 'odd'", str(caught.exception))
            self.assertEqual(path.read_text(), TEXT)
            marks.write(path, {"rows": "new", "z": "part"})
            self.assertIn("begin -->\nnew\n<!-- rows", path.read_text())
            self.assertIn("begin -->\npart\n<!-- z", path.read_text())


if __name__ == "__main__":
    unittest.main()
