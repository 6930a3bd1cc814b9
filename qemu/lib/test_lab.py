# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the laboratory's bookkeeping, and of qemu/study-matrix without a guest."""

import re
import subprocess
import unittest

import lab
from common import ROOT, Failure

GPF = """\
[   12.1] uffd-suite: try 1
[   12.9] uffd-suite: try 2
[   13.0] Oops: general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6d03
[   13.0] RBX: 6b6b6b6b6b6b6b6b RCX: 0000000000000000
[   13.0] ---[ end trace 0000000000000000 ]---
[   13.1] Kernel panic - not syncing: Fatal exception
"""
SUITE = """\
KTAP version 1
# Linux 7.3.4, userfaultfd in Rust
1..1
ok 1 lab::fill
KTAP version 1
# Linux 7.3.4, userfaultfd in Rust
1..1
# exit status: 101
# thread 'main' panicked at suite/src/tests/lab.rs:1:
# assertion failed
not ok 1 lab::fill
"""


class Names(unittest.TestCase):
    def test_the_kernel_has_the_same_defects(self):
        source = (ROOT / "rust" / "lab" / "mod.rs").read_text()
        self.assertEqual(lab.names_in(source), list(lab.DEFECTS))
        self.assertGreaterEqual(len(lab.DEFECTS), 14)

    def test_each_test_is_in_the_suite(self):
        for which in lab.DEFECTS.values():
            *modules, name = which.test.split("::")
            path = ROOT / "selftests" / "suite" / "src" / "tests" / "/".join(modules)
            self.assertRegex(path.with_suffix(".rs").read_text(), rf"\n    {name}\b")

    def test_each_has_its_place_in_the_code_and_in_the_documentation(self):
        code = "\n".join(p.read_text() for p in (ROOT / "rust").rglob("*.rs"))
        document = (ROOT / "Documentation" / "lab.md").read_text()
        for name in lab.DEFECTS:
            ident = "".join(word.capitalize() for word in name.split("-"))
            self.assertRegex(code, rf"defect!\(\s*{ident}\b|Defect::{ident}\b")
            self.assertIn(f"| `{name}` |", document)

    def test_unknown_names_list_the_known_ones(self):
        with self.assertRaises(Failure) as caught:
            lab.defect("exit-wlak")
        for name in lab.DEFECTS:
            self.assertIn(name, str(caught.exception))


class Reading(unittest.TestCase):
    def test_console_by_try(self):
        self.assertEqual([number for number, _ in lab.by_try(GPF)], [0, 1, 2])

    def test_poison_in_an_oops(self):
        result = lab.Result()
        lab.read_console(result, GPF)
        self.assertEqual(list(result.catches), ["SLUB poison"])
        catch = result.catches["SLUB poison"]
        self.assertEqual(catch.attempt, 2)
        self.assertTrue(catch.line.startswith("Oops: general protection fault"))
        self.assertEqual(result.attempts, 2)

    def test_kinds(self):
        for line, detector in (
                ("BUG userfaultfd_ctx_cache (Tainted: G   N): Poison overwritten", "SLUB poison"),
                ("BUG: KASAN: slab-use-after-free in uffd", "KASAN"),
                ("WARNING: possible circular locking dependency detected", "lockdep"),
                ("WARNING: suspicious RCU usage", "lockdep"),
                ("INFO: task uffd-suite:99 blocked for more than 5 seconds.", "hung task"),
                ("BUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:1", "other checks")):
            result = lab.Result()
            lab.read_console(result, f"[    1.0] uffd-suite: try 1\n[    1.1] {line}\n")
            self.assertEqual(list(result.catches), [detector], line)

    def test_quiet_console(self):
        result = lab.Result()
        lab.read_console(result, "[    1.0] userfaultfd: lab: the defect red-zone is armed\n")
        self.assertEqual((result.catches, result.attempts), ({}, 0))

    def test_suite(self):
        result = lab.Result()
        lab.read_suite(result, "contexts 1\n" + SUITE)
        catch = result.catches["guest suite"]
        self.assertEqual((catch.attempt, catch.line), (2, "not ok lab::fill: assertion failed"))

    def test_poison_that_reached_user_space(self):
        result = lab.Result()
        lab.read_suite(result, SUITE.replace("failed\n", "failed\n#  left: [18, 90, 90, 90, 90]\n"))
        self.assertEqual(list(result.catches), ["guest suite", "SLUB poison"])

    def test_accounts(self):
        for before, after, line in (
                ((1, 100 << 20), (1, 99 << 20), None),
                ((1, 100 << 20), (3, 100 << 20), "2 contexts more than before"),
                ((1, 100 << 20), (1, 80 << 20), "20 MiB less free memory than before")):
            result = lab.Result()
            text = "".join(f"contexts {contexts}\nfree {free}\n"
                           for contexts, free in (before, after))
            lab.read_accounts(result, text)
            self.assertEqual([c.line for c in result.catches.values()], [line] if line else [])

    def test_guest_that_died_has_no_second_account(self):
        result = lab.Result()
        lab.read_accounts(result, "contexts 1\nfree 5\n")
        self.assertEqual(result.catches, {})


class Companion(unittest.TestCase):
    TEXT = 'constructor "{}"\nremains 192 bytes, {} poisoned\n  6b 6b\n  00 01\n'

    def test_remains(self):
        alive = lab.read_remains("c", self.TEXT.format("init_once", 3))
        self.assertEqual((alive.constructor, alive.size, alive.poisoned), ("init_once", 192, 3))
        # C's is what it is.
        self.assertIsNone(alive.problem)
        self.assertIn("3 are poison", lab.read_remains("rust-lab", self.TEXT.format("", 3)).problem)
        poisoned = lab.read_remains("rust-lab", self.TEXT.format("", 191))
        self.assertIsNone(poisoned.problem)
        self.assertIn("| `rust-lab` | none | 192 | 191 | `6b 6b` |", lab.remains_table([poisoned]))

    def test_no_remains(self):
        self.assertIsNone(lab.read_remains("c", "uffd-suite: no size of contexts\n"))


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.walk = lab.DEFECTS["exit-walk"]
        self.control = lab.Defect(lab.CONTROL, "")

    def test_defects_must_be_caught(self):
        self.assertIn("nothing has caught it", lab.verdict(self.walk, lab.Result()))

    def test_the_control_must_not(self):
        result = lab.Result()
        self.assertIsNone(lab.verdict(self.control, result))
        result.add("KASAN", 1, "BUG: KASAN")
        self.assertIn("KASAN", lab.verdict(self.control, result))

    def test_the_exit_walk_needs_its_pattern(self):
        result = lab.Result()
        result.add("SLUB poison", 1, "BUG", "Poison overwritten")
        self.assertIn(lab.POISON, lab.verdict(self.walk, result))
        result = lab.Result()
        result.add("SLUB poison", 1, "Oops", f"RBX: {lab.POISON}")
        self.assertIsNone(lab.verdict(self.walk, result))

    def test_tables_and_document(self):
        result = lab.Result(attempts=2)
        result.add("SLUB poison", 2, "a | b", f"RBX: {lab.POISON}")
        rows = [(self.walk, lab.merge([result, lab.Result()])), (self.control, lab.Result())]
        self.assertIn("| `exit-walk` | try 2 |", lab.table(rows))
        self.assertIn("a \\| b", lab.first_lines(rows))
        text = lab.document("Linux", "abc", 5, rows)
        self.assertEqual(text["version"], lab.VERSION)
        self.assertEqual([r["problem"] for r in text["rows"]], [None, None])


class Kept(unittest.TestCase):
    def test_memory_counts_where_it_is_accounted_for(self):
        defect, control = lab.defect("exit-walk"), lab.Defect(lab.CONTROL, "")
        self.assertEqual(lab.kept(defect, ("KASAN",)), ("KASAN",))
        self.assertNotIn("accounting", lab.kept(control, ("KASAN",)))
        self.assertIn("guest suite", lab.kept(control, ("KASAN",)))
        self.assertEqual(list(lab.DETECTORS), lab.kept(control, ("accounting",)))


class Options(unittest.TestCase):
    def test_bad_options(self):
        for args, message in ((["--only", "exit"], "one of: exit-walk"),
                              (["--detector", "luck"], "one of: SLUB poison"),
                              (["--tries", "0"], "from 1 to 100"),
                              (["--document", "--only", "no-flush"], "excludes --only")):
            with self.subTest(args=args):
                run = subprocess.run([ROOT / "qemu" / "study-matrix", *args], text=True,
                                     capture_output=True, check=False)
                self.assertEqual(run.returncode, 2)
                self.assertIn(message, run.stderr)
                self.assertNotIn("Traceback", run.stderr)

    def test_list(self):
        run = subprocess.run([ROOT / "qemu" / "study-matrix", "--list"], text=True,
                             capture_output=True, check=True)
        self.assertEqual(re.findall(r"^\S+", run.stdout, re.M), list(lab.DEFECTS))


if __name__ == "__main__":
    unittest.main()
