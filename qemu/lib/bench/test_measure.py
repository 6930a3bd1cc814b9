# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what is booted, in which order, and of what becomes of the samples."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import job
from bench import measure
from bench.made_up import results, row
from bench.samples import CLOCK, Sample
from common import Failure

THROUGHPUT = row("throughput-4x1")


class Measure(unittest.TestCase):
    def setUp(self):
        self.boots, self.kernels = [], {}
        for name, fake in (("need_kernels", lambda: None), ("boot", self.boot),
                           ("origin", lambda *args: results({}).origin)):
            patch = mock.patch.object(measure, name, fake)
            patch.start()
            self.addCleanup(patch.stop)

    def boot(self, title, flavour, rows, repeats, options):
        self.boots.append((flavour, [row.name for row in rows], repeats, options))
        cost = 1 if flavour == "c" else 2
        return self.kernels.get(flavour, "Linux 9"), {
            row.name: [Sample(1, 1 if row.name == CLOCK else cost + turn, 0) for turn in range(repeats)]
            for row in rows if not (flavour == "rust" and row.name == "register")}

    def run_rows(self, c, rust, repeats=3):
        return measure.measure({"c": c, "rust": rust}, repeats, True)

    def test_counted_rows_take_one_guest_each(self):
        both = [row("fault-read"), row("register")]
        found = self.run_rows(both, [*both, row("sleepers-16")])
        self.assertEqual([boot[:3] for boot in self.boots], [
            ("c", [CLOCK, "fault-read", "register"], 3),
            ("rust", [CLOCK, "fault-read", "register", "sleepers-16"], 3)])
        self.assertTrue(all(options == ["--icount", "--append", measure.QUIET] for *_, options in self.boots))
        self.assertEqual(found.origin.kernel, "Linux 9")
        self.assertEqual([(m.row.name, m.c and m.c.cost, m.rust and m.rust.cost) for m in found.rows],
                         [("fault-read", 2, 3), ("register", 2, None), ("sleepers-16", None, 3)])

    def test_throughput_takes_turns(self):
        found = self.run_rows([THROUGHPUT], [THROUGHPUT])
        order = [flavour for flavour, *_ in self.boots]
        self.assertEqual(order, ["c", "rust", "rust", "c", "c", "rust"] * len(measure.CPUS))
        self.assertEqual({(tuple(names), repeats) for _, names, repeats, _ in self.boots},
                         {((THROUGHPUT.name,), 1)})
        self.assertEqual([options[-1] for *_, options in self.boots[::6]], ["2", "4", "8"])
        self.assertTrue(all("off" in options and "--icount" not in options for *_, options in self.boots))
        self.assertEqual([m.cpus for m in found.rows], list(measure.CPUS))
        self.assertTrue(all(len(figure.samples) == 3 for m in found.rows for figure in m.figures))

    def test_other_versions(self):
        self.kernels = {"rust": "Linux 10"}
        with self.assertRaises(Failure) as caught:
            self.run_rows([row("copy-1")], [row("copy-1")])
        self.assertIn("Linux 10, Linux 9", str(caught.exception))


class Boot(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for target, name, fake in ((measure, "LOGS", Path(folder.name)), (measure, "ROOT", Path(folder.name)),
                                   (measure, "program", lambda: Path("uffd-cost")),
                                   (measure, "Progress", mock.Mock()), (job, "run", self.run_job)):
            patch = mock.patch.object(target, name, fake)
            patch.start()
            self.addCleanup(patch.stop)
        self.outcome = job.Outcome(0, 1.0)

    def run_job(self, progress, command, out, budget, err=None):
        self.command = [str(word) for word in command]
        err.write_text("a panic\n")
        out.write_text('{"kernel": "Linux 9"}\n{"row": "copy-1", "ops": 1, "cost": 2, "switches": 0}\n')
        progress.update('{"row":"copy-1"}')
        return self.outcome

    def test_command(self):
        kernel, found = measure.boot("title", "c", [row("copy-1"), row("register")], 5, ["--icount"])
        self.assertEqual((kernel, list(found)), ("Linux 9", ["copy-1"]))
        text = " ".join(self.command)
        self.assertIn("--flavour c --icount --exec uffd-cost --repeats 5 --rows =copy-1 --rows =register", text)
        self.assertNotIn("--group", text)
        measure.Progress().update.assert_called_with("1 of 2 rows: copy-1")
        measure.boot("title", "c", [THROUGHPUT], 1, [])
        self.assertEqual(self.command[-2:], ["--group", "throughput"])

    def test_a_guest_that_fails(self):
        for status, problem, words in ((255, "", "status 255"), (None, "ran out of time", "ran out of time")):
            self.outcome = job.Outcome(status, 1.0, problem)
            with self.assertRaises(measure.GuestFailed) as caught, mock.patch("builtins.print") as shown:
                measure.boot("title", "rust", [row("copy-1")], 1, [])
            self.assertIn(words, str(caught.exception))
            self.assertIn("a panic", str(shown.call_args))


class Listing(unittest.TestCase):
    def test_a_program_that_cannot(self):
        with mock.patch.object(measure, "program", lambda: "/bin/false"), self.assertRaises(Failure):
            measure.listed()


if __name__ == "__main__":
    unittest.main()
