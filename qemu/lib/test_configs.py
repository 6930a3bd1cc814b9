# SPDX-License-Identifier: GPL-2.0-only
"""Tests of comparing a C and a Rust kernel, and of the variants' configurations."""

import unittest

from common import Failure
from configs import compare
from flavours import CONFIG, FLAVOURS, VARIANTS, flavour, parse, requested

EVENT = "not offered: EVENT_FORK"


def output(*cases, offered="WP MOVE"):
    lines = ["KTAP version 1", f"# offered: {offered}", f"1..{len(cases)}"]
    return "\n".join(lines + [f"ok {n} {case}" if not case.startswith("not ok") else
                              case.replace("not ok", f"not ok {n}")
                              for n, case in enumerate(cases, 1)]) + "\n"


class Compare(unittest.TestCase):
    def counts(self, c, rust, listed=None):
        tally = compare(c, rust, listed or {}, set())
        self.assertEqual(tally.failed, len(tally.problems))
        return tally.passed, tally.failed, tally.skipped

    def problem(self, c, rust, listed=None, lacks=()):
        problems = compare(c, rust, listed or {}, set(lacks)).problems
        self.assertEqual(len(problems), 1, problems)
        return problems[0]

    def test_alike(self):
        both = output("a", "b # SKIP needs x")
        self.assertEqual(self.counts(both, both), (1, 0, 1))

    def test_one_skips(self):
        runs, skips = output("a", "b"), output("a", "b # SKIP needs x")
        self.assertEqual(self.problem(runs, skips), "b: runs on C, skipped on Rust: needs x")
        self.assertEqual(self.problem(skips, runs), "b: skipped on C: needs x, runs on Rust")

    def test_another_reason(self):
        self.assertEqual(self.problem(output("a # SKIP needs x"), output("a # SKIP needs y")),
                         "a: skipped on C: needs x, skipped on Rust: needs y")

    def test_listed(self):
        runs, skips = output("a", "b"), output("a", f"b # SKIP {EVENT}")
        self.assertEqual(self.counts(runs, skips, {"b": EVENT}), (1, 0, 1))
        self.assertEqual(self.counts(runs, skips, {"b": "needs x"}), (1, 1, 0))
        # That it runs is for `qemu/check` to tell: here both do the same.
        self.assertEqual(self.counts(runs, runs, {"b": EVENT}), (2, 0, 0))

    def test_only_rust_has_it(self):
        skips, runs = output("a", "b # SKIP needs x"), output("a", "b")
        beyond = {"b": "needs x"}
        self.assertEqual(compare(skips, runs, {}, set(), beyond).passed, 2)
        self.assertEqual(compare(skips, skips, {}, set(), beyond).skipped, 1)
        self.assertEqual(compare(skips, runs, {}, set(), {"b": "needs y"}).failed, 1)
        failing = output("a", "not ok b")
        self.assertEqual(compare(skips, failing, {}, set(), beyond).failed, 1)

    def test_listed_and_lacking_on_c(self):
        c = output("a # SKIP not offered: WP")
        rust = output("a # SKIP not offered: WP EVENT_FORK")
        self.assertEqual(self.counts(c, rust, {"a": EVENT}), (0, 0, 1))
        self.assertEqual(self.counts(c, rust), (0, 1, 0))
        # A test that looks further on C may stop earlier on Rust.
        self.assertEqual(self.counts(output("a # SKIP needs x"), output(f"a # SKIP {EVENT}"),
                                     {"a": EVENT}), (0, 0, 1))

    def test_failures(self):
        good, bad = output("a"), output("not ok a")
        self.assertEqual(self.problem(bad, good), "not ok on C: a")
        self.assertEqual(self.problem(good, bad), "not ok on Rust: a")
        self.assertEqual(self.problem(bad, bad), "not ok on C and Rust: a")

    def test_one_ended_early(self):
        whole = output("a", "b")
        self.assertEqual(compare(whole, whole.replace("ok 2 b\n", ""), {}, set()).problems,
                         ["on Rust: plan says 2 tests, 1 reported", "only C has a result: b"])
        self.assertGreater(compare("", "", {}, set()).failed, 0)

    def test_offers(self):
        less, more = output("a", offered="WP"), output("a", offered="WP EVENT_FORK")
        self.assertEqual(self.problem(more, less), "offered by C only: EVENT_FORK")
        self.assertEqual(self.problem(less, more), "offered by Rust only: EVENT_FORK")
        self.assertEqual(compare(more, less, {}, {"EVENT_FORK"}).problems, [])
        self.assertEqual(self.problem(more, more, lacks=["EVENT_FORK"]),
                         "listed as lacking, but offered: EVENT_FORK")
        silent = less.replace("# offered", "# had")
        self.assertEqual(self.problem(silent, less), "a kernel did not say what it offers")


class Variants(unittest.TestCase):
    def test_each_takes_something_away(self):
        for variant in VARIANTS.values():
            own = parse((CONFIG / f"{variant.name}.config").read_text())
            for fl, plain in zip(variant.flavours, ("c", "rust")):
                off = [option for option, value in own.items()
                       if value == "n" and requested(FLAVOURS[plain]).get(option) == "y"]
                self.assertTrue(off, fl.name)
                self.assertTrue(all(requested(fl)[option] == "n" for option in off), fl.name)

    def test_looking_up(self):
        self.assertEqual(flavour("rust-no-thp").fragments, ("base", "no-thp", "rust"))
        self.assertEqual(flavour("c-no-smp").fragments[-1], "c")
        self.assertFalse(set(FLAVOURS) & {f.name for v in VARIANTS.values() for f in v.flavours})
        with self.assertRaises(Failure) as caught:
            flavour("rust-no-thb")
        self.assertIn("no-thp no-hugetlb", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
