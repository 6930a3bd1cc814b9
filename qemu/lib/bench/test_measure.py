# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what is booted, in which order, and of what becomes of the samples."""

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import job
from bench import measure
from bench.made_up import figure, results, row
from bench.samples import CLOCK, Sample
from common import Failure

THROUGHPUT = row("throughput-4x1")
KERNEL = results({}).origin.kernel


def sample(name):
    return json.dumps({"row": name, "ops": 1, "cost": 2, "switches": 0}) + "\n"


class Measure(unittest.TestCase):
    def setUp(self):
        self.boots, self.kernels, self.kept, self.interrupted = [], {}, [], ""
        for name, fake in (("need_kernels", lambda: None), ("boot", self.boot),
                           ("origin", lambda *args: replace(results({}).origin, kernel=""))):
            patch = mock.patch.object(measure, name, fake)
            patch.start()
            self.addCleanup(patch.stop)

    def boot(self, title, flavour, rows, repeats, options, finished):
        self.boots.append((flavour, [row.name for row in rows], repeats, options))
        cost = 1 if flavour == "c" else 2
        found = {}
        for row in rows:
            if row.name == self.interrupted:
                raise KeyboardInterrupt
            if not (flavour == "rust" and row.name == "register"):
                found[row.name] = [
                    Sample(1, 1 if row.name == CLOCK else cost + turn, 0,
                           {measure.WAITS: 10 * cost + turn} if "--disguise" in options else {})
                    for turn in range(repeats)]
            finished(self.kernels.get(flavour, KERNEL), found)

    def run_rows(self, c, rust, **more):
        return measure.measure({"c": c, "rust": rust}, 3, True, self.kept.append, **more)

    def test_counted_rows_take_one_guest_each(self):
        both = [row("fault-read"), row("register")]
        found = self.run_rows(both, [*both, row("sleepers-16")])
        self.assertEqual([boot[:3] for boot in self.boots], [
            ("c", [CLOCK, "fault-read", "register"], 3),
            ("rust", [CLOCK, "fault-read", "register", "sleepers-16"], 3)])
        self.assertTrue(all(options == ["--icount", "--append", measure.QUIET] for *_, options in self.boots))
        self.assertEqual(found.origin.kernel, KERNEL)
        self.assertEqual([(m.row.name, m.c and m.c.cost, m.rust and m.rust.cost) for m in found.rows],
                         [("fault-read", 2, 3), ("register", 2, None), ("sleepers-16", None, 3)])

    def test_throughput_takes_turns(self):
        found = self.run_rows([THROUGHPUT], [THROUGHPUT])
        order = [flavour for flavour, *_ in self.boots]
        turns = ["c", "rust", "rust", "c", "c", "rust"]
        self.assertEqual(order, [*turns, "c", "rust"] * len(measure.CPUS))
        self.assertEqual([(names, repeats) for _, names, repeats, _ in self.boots],
                         ([([THROUGHPUT.name], 1)] * 6 + [([THROUGHPUT.name], 3)] * 2) * len(measure.CPUS))
        self.assertEqual([options[options.index("--smp") + 1] for *_, options in self.boots[::8]],
                         ["2", "4", "8"])
        self.assertTrue(all("off" in options and "--icount" not in options for *_, options in self.boots))
        self.assertEqual([m.cpus for m in found.rows], list(measure.CPUS))
        self.assertTrue(all(len(figure.samples) == 3 for m in found.rows for figure in m.figures))

    def test_waits_come_from_guests_whose_throughput_does_not_count(self):
        found = self.run_rows([THROUGHPUT], [THROUGHPUT])
        self.assertEqual([("--disguise" in options) for *_, options in self.boots[:8]], [False] * 6 + [True] * 2)
        for m in found.rows:
            self.assertEqual((m.c.cost, m.c.extra(measure.WAITS)), (1, 11))
            self.assertEqual((m.rust.cost, m.rust.extra(measure.WAITS)), (2, 21))

    def test_what_is_kept_on_the_way(self):
        self.run_rows([row("copy-1")], [row("copy-1"), THROUGHPUT])
        self.assertTrue(all(not found.origin.complete for found in self.kept))
        have = [{m.key: (m.c and len(m.c.samples), m.rust and len(m.rust.samples)) for m in found.rows}
                for found in self.kept]
        # What the gauge alone has brought is nothing.
        self.assertEqual(have[:3], [{("copy-1", 1): (3, None)}, {("copy-1", 1): (3, None)},
                                    {("copy-1", 1): (3, 3)}])
        self.assertEqual(have[3:5], [{("copy-1", 1): (3, 3), (THROUGHPUT.name, 2): (None, n)}
                                     for n in (1, 2)])

    def interrupt_and_resume(self, rows, at):
        """The boots of the second run, after one that was interrupted before a row."""
        self.interrupted = at
        with self.assertRaises(KeyboardInterrupt):
            self.run_rows(rows, rows)
        self.interrupted, self.boots = "", []
        found = self.run_rows(rows, rows, known=self.kept[-1])
        boots, self.boots = self.boots, []
        self.assertEqual(found, self.run_rows(rows, rows))
        return [(flavour, names) for flavour, names, *_ in boots]

    def test_an_interrupted_run_goes_on(self):
        rows = [row("fault-read"), row("copy-1")]
        self.assertEqual(self.interrupt_and_resume(rows, "copy-1"), [
            ("c", [CLOCK, "copy-1"]), ("rust", [CLOCK, "fault-read", "copy-1"])])

    def test_nothing_is_measured_twice(self):
        boots = self.interrupt_and_resume([row("copy-1"), THROUGHPUT], THROUGHPUT.name)
        self.assertEqual({name for _, names in boots for name in names}, {THROUGHPUT.name})
        self.assertEqual(len(boots), 8 * len(measure.CPUS))

    def test_throughput_goes_on_with_the_next_turn(self):
        known = results({(THROUGHPUT.name, 2): (figure(1, 2), figure(1))})
        self.run_rows([THROUGHPUT], [THROUGHPUT], known=known)
        self.assertEqual([flavour for flavour, *_ in self.boots[:4]], ["rust", "c", "rust", "c"])

    def test_other_kernels_do_not_go_on(self):
        for other in ({"commit": "f00"}, {"images": {"c": "7"}}, {"repeats": 4}):
            known = results({"copy-1": (1, 1)})
            known = replace(known, origin=replace(known.origin, **other))
            if "commit" in other:
                self.run_rows([row("copy-1")], [row("copy-1")], known=known)
                continue
            with self.assertRaises(Failure) as caught:
                self.run_rows([row("copy-1")], [row("copy-1")], known=known)
            self.assertIn(next(iter(other)), str(caught.exception))

    def test_other_versions(self):
        self.kernels = {"rust": "Linux 10"}
        with self.assertRaises(Failure) as caught:
            self.run_rows([row("copy-1")], [row("copy-1")])
        self.assertIn(f"Linux 10, {KERNEL}", str(caught.exception))


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
        self.outcome, self.boots, self.reports = job.Outcome(0, 1.0), 0, ["a panic\n"]
        self.printed = [('{"kernel": "Linux 9"}\n' + sample("copy-1") * 2, "copy-1")]
        self.told = []

    def boot(self, rows, repeats, options=()):
        (Path(measure.LOGS) / "bench-c.log").unlink(missing_ok=True)
        measure.boot("title", "c", rows, repeats, options,
                     lambda kernel, found: self.told.append((kernel, list(found))))

    def run_job(self, progress, command, out, budget, err=None):
        self.command = [str(word) for word in command]
        err.write_text(self.reports[min(self.boots, len(self.reports) - 1)])
        self.boots += 1
        for text, row in self.printed:
            with out.open("a") as log:
                log.write(text)
            progress.update(f'{{"row":"{row}"}}')
        if not isinstance(self.outcome, job.Outcome):
            raise self.outcome
        return self.outcome

    def test_command(self):
        self.boot([row("copy-1"), row("register")], 2, ["--icount"])
        self.assertEqual(self.told[-1], ("Linux 9", ["copy-1"]))
        text = " ".join(self.command)
        self.assertIn("--flavour c --icount --exec uffd-cost --repeats 2 --rows =copy-1 --rows =register", text)
        self.assertNotIn("--group", text)
        measure.Progress().update.assert_called_with("1 of 2 rows: copy-1")
        self.boot([THROUGHPUT], 2)
        self.assertEqual(self.command[-2:], ["--group", "throughput"])

    def test_a_guest_that_fails(self):
        for status, problem, words in ((255, "", "status 255"), (None, "ran out of time", "ran out of time")):
            self.outcome = job.Outcome(status, 1.0, problem)
            with self.assertRaises(measure.GuestFailed) as caught, mock.patch("builtins.print") as shown:
                self.boot([row("copy-1")], 2)
            self.assertIn(words, str(caught.exception))
            self.assertIn("a panic", str(shown.call_args))
            self.assertEqual(self.told[-1], ("Linux 9", ["copy-1"]))
        self.assertEqual(self.boots, 2)

    def test_a_guest_that_qemu_fails(self):
        self.outcome = job.Outcome(255, 1.0)
        for reports, boots in ((["Oops: int3: 0000\n", "a panic\n"], 2), (["Oops: int3: 0000\n"], measure.BOOTS)):
            self.reports, self.boots = reports, 0
            with self.assertRaises(measure.GuestFailed), mock.patch("builtins.print"):
                self.boot([row("copy-1")], 2)
            self.assertEqual(self.boots, boots)

    def test_finished_rows_are_told_at_once(self):
        self.printed = [('{"kernel": "Linux 9"}\n' + sample("copy-1"), "copy-1"), (sample("copy-1"), "copy-1"),
                        (sample("register"), "register"), (sample("register") + '{"row": "copy-5', "copy-512")]
        self.outcome = KeyboardInterrupt()
        with self.assertRaises(KeyboardInterrupt):
            self.boot([row(name) for name in ("copy-1", "register", "copy-512")], 2)
        self.assertEqual([names for _, names in self.told],
                         [[], ["copy-1"], ["copy-1", "register"], ["copy-1", "register"]])

    def test_a_guest_that_says_nothing(self):
        self.printed = [("", "copy-1")]
        self.outcome = KeyboardInterrupt()
        with self.assertRaises(KeyboardInterrupt):
            self.boot([row("copy-1")], 2)
        self.assertEqual(self.told[-1], (None, []))
        self.outcome = job.Outcome(0, 1.0)
        with self.assertRaises(Failure):
            self.boot([row("copy-1")], 2)


class Listing(unittest.TestCase):
    def test_a_program_that_cannot(self):
        with mock.patch.object(measure, "program", lambda: "/bin/false"), self.assertRaises(Failure):
            measure.listed()


if __name__ == "__main__":
    unittest.main()
