# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what a trace must show, of how scenarios went, and of the command's options."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import ktap
from common import ROOT
from study import check, keep, played, sample
from study.model import build
from study.trace import parse

OUTPUT = """\
KTAP version 1
# Linux 7.3.4, userfaultfd in Rust
1..3
ok 1 single-fault
# exit status: 101
# panicked at x
not ok 2 signal
"""


def result(**more):
    return {"reports": [], "reasons": [], **more}


def failed(name, text, problems=()):
    """What is wrong with a trace."""
    return [about for about, holds in check.checks(name, problems, build(parse(text))) if not holds]


class Traces(unittest.TestCase):
    def test_a_good_one(self):
        self.assertEqual(failed("single-fault", sample.single()), [])

    def test_each_lack(self):
        lines = sample.single().splitlines(keepends=True)
        without = {part: "".join(line for line in lines if part not in line)
                   for part in ("uffd_fault_done", "uffd_fault_read", "uffd_ctx_free", "uffd_fault")}
        self.assertEqual(len(failed("single-fault", without["uffd_fault_done"])), 2)
        self.assertEqual(len(failed("single-fault", without["uffd_fault_read"])), 1)
        self.assertEqual(len(failed("single-fault", without["uffd_ctx_free"])), 1)
        self.assertEqual(len(failed("single-fault", without["uffd_fault"])), 2)
        self.assertEqual(len(failed("two-readers", sample.single())), 1)
        self.assertEqual(len(failed("unread", sample.single())), 1)
        self.assertEqual(len(failed("fork-event", sample.single())), 3)
        self.assertEqual(len(failed("single-fault", "")), 3)
        self.assertEqual(len(failed("single-fault", sample.single(), ["it failed"])), 1)
        self.assertEqual(len(failed("single-fault", sample.single() + "gibberish\n")), 1)

    def test_of_one_without_expectations(self):
        self.assertEqual(failed("something-new", sample.single()), [])
        self.assertEqual(len(failed("something-new", "")), 1)

    def test_is_valid_ktap(self):
        checks = check.checks("single-fault", ["it # SKIP\nfailed"], build(parse(sample.single())))
        report = ktap.parse(ktap.text(checks))
        self.assertEqual((report.errors, report.failed, report.skipped), ([], 1, 0))


class Played(unittest.TestCase):
    def test_each_by_its_name(self):
        found = played.read(OUTPUT, result(reasons=["no byte"]), ["single-fault", "signal", "wp-loop"])
        self.assertEqual(found.kernel, "Linux 7.3.4, userfaultfd in Rust")
        self.assertEqual(found.problems, {
            "single-fault": [], "signal": ["exit status: 101", "panicked at x"],
            "wp-loop": ["no byte"]})
        self.assertFalse(found.good)

    def test_nothing_was_said(self):
        found = played.read("", result(), ["single-fault"])
        self.assertEqual(found.problems, {"single-fault": ["it was not played"]})
        found = played.read("1..1\nuffd-study: no events\n", result(), ["single-fault"])
        self.assertEqual(found.problems, {"single-fault": ["uffd-study: no events"]})

    def test_report_of_the_kernel(self):
        reports = [{"text": "BUG", "allowed": False}, {"text": "WARNING", "allowed": True}]
        found = played.read("ok 1 signal\n", result(reports=reports), ["signal"])
        self.assertEqual((found.reports, found.good), (["BUG"], False))
        self.assertTrue(played.read("ok 1 signal\n", result(), ["signal"]).good)

    def test_a_report_ends_where_the_trace_begins(self):
        text = "Oops: 1\nRIP: x\n[    1.0] Dumping ftrace buffer:\n---\n m-1  0..... 5us : x: y"
        found = played.read("", result(reports=[{"text": text, "allowed": False}]), ["signal"])
        self.assertEqual(found.reports, ["Oops: 1\nRIP: x"])


class Kept(unittest.TestCase):
    def setUp(self):
        kept = tempfile.TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.out = Path(kept.name)
        self.guest = self.out / "guest"
        (self.guest / "signal").mkdir(parents=True)
        (self.guest / "signal" / keep.TRACE).write_text(sample.single(), encoding="utf-8")

    def write(self, name, *problems, reports=()):
        found = played.Played("Linux", {name: list(problems)}, list(reports))
        return keep.write(self.out, self.guest / name, "what it is", "rust", found)

    def test_all_of_it_in_place_of_the_old(self):
        (self.out / "signal").mkdir()
        (self.out / "signal" / "old").write_text("")
        model, text = self.write("signal")
        self.assertEqual(sorted(path.name for path in (self.out / "signal").iterdir()),
                         ["index.html", "summary.txt", "trace.txt"])
        self.assertEqual((self.out / "signal" / "summary.txt").read_text(encoding="utf-8"), text)
        self.assertEqual(len(model.faults), 1)

    def test_without_a_trace(self):
        self.write("wp-loop", "the kernel panicked", reports=["Oops: <6b6b6b6b>"])
        text = (self.out / "wp-loop" / "index.html").read_text(encoding="utf-8")
        for part in ("the kernel panicked", "Oops: &lt;6b6b6b6b&gt;", "has nothing of userfaultfd"):
            self.assertIn(part, text)

    def test_last_words_are_of_the_first_without_a_trace(self):
        console = self.out / "console.log"
        names = ["signal", "wp-loop", "unread"]
        keep.save_dump(self.guest, names, console)
        self.assertEqual([path.name for path in self.guest.iterdir()], ["signal"])
        console.write_text("Dumping ftrace buffer:\n" + "-" * 33 + "\n m-1  0..... 5us : x: y\n")
        keep.save_dump(self.guest, names, console)
        self.assertEqual((self.guest / "wp-loop" / keep.TRACE).read_text(), " m-1  0..... 5us : x: y\n")
        self.assertFalse((self.guest / "unread").exists())


class Options(unittest.TestCase):
    def test_every_expectation_is_of_a_scenario(self):
        source = (ROOT / "selftests/study/src/scenarios/mod.rs").read_text(encoding="utf-8")
        for name in (*check.EXPECTED, *check.SLOW):
            self.assertIn(f'name: "{name}",', source)

    def test_bad_ones_are_one_line(self):
        for words in (["--flavour", "nonsense"], ["--flavour", "c", "single-fault"], ["nonsense"]):
            run = subprocess.run([ROOT / "qemu" / "study", *words], text=True, capture_output=True,
                                 check=False)
            self.assertEqual((run.returncode, run.stdout), (2, ""), words)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)


if __name__ == "__main__":
    unittest.main()
