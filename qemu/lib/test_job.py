# SPDX-License-Identifier: GPL-2.0-only
"""Tests of running a command against a budget."""

import os
import select
import signal
import sys
import tempfile
import unittest
from pathlib import Path

import job


class Quiet:
    """Stands in for the progress line."""

    def update(self, detail):
        pass


class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_python(self, code, budget=60, **kwargs):
        self.out = self.folder / "out"
        return job.run(Quiet(), [sys.executable, "-c", code], self.out, budget, **kwargs)

    def test_status_and_output(self):
        outcome = self.run_python("import sys; print('x'); print('y', file=sys.stderr); sys.exit(3)")
        self.assertEqual((outcome.status, outcome.problem), (3, ""))
        self.assertEqual(sorted(self.out.read_text().split()), ["x", "y"])

    def test_separate_errors(self):
        err = self.folder / "err"
        self.run_python("import sys; print('x'); print('y', file=sys.stderr)", err=err)
        self.assertEqual((self.out.read_text(), err.read_text()), ("x\n", "y\n"))

    def test_killed_by_a_signal(self):
        outcome = self.run_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        self.assertEqual(outcome.status, -signal.SIGSEGV)
        self.assertEqual(outcome.problem, f"killed by signal {int(signal.SIGSEGV)}")

    def test_missing_program(self):
        outcome = job.run(Quiet(), [self.folder / "none"], self.folder / "out", 5)
        self.assertIsNone(outcome.status)
        self.assertIn("cannot run", outcome.problem)

    def test_budget_ends_the_whole_group(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        grandchild = f"import signal; f = open({str(fifo)!r}, 'w'); f.write('x'); f.flush(); signal.pause()"
        child = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {grandchild!r}])"
        outcome = self.run_python(child, budget=2)
        self.assertIsNone(outcome.status)
        self.assertEqual(outcome.problem, "ran out of time (2 s)")
        self.assertEqual(os.read(reader, 10), b"x")
        # The pipe hangs up once nobody holds its other end.
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        self.assertEqual(poll.poll(30_000), [(reader, select.POLLHUP)])


if __name__ == "__main__":
    unittest.main()
