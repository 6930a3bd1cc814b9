# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the runner with a script in QEMU's place that writes to the same ports."""

import os
import re
import sys
import tempfile
import time
import unittest
from pathlib import Path

from guest import KERNEL_REPORT, NO_STATUS, Guest, Limits

PRELUDE = """
import os, socket, sys, time
console, output, status = sys.argv[1:]
status = socket.socket(fileno=int(status))
def to(path, text):
    with open(path, "wb", buffering=0) as f:
        f.write(text)
"""

BOOTED = 'to(console, b"[    0.1] Linux version 7.3\\n"); status.send(b"ready\\n")\n'
WARNING = 'to(console, b"[    0.2] WARNING: mm/x.c:1 at f+0x1/0x2\\n")\n'


class FakeMachine:
    """Looks like a Machine; its QEMU is a script."""

    interactive = False

    def __init__(self, script):
        self.script = script

    def command(self, ends):
        console, output = (re.search("path=(.*)", text)[1] for text in (ends.console, ends.output))
        status = re.search("fd=(.*)", ends.status)[1]
        return [sys.executable, "-c", PRELUDE + self.script, console, output, status]


class GuestTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.log = Path(self.folder.name, "console.log")
        # What the guest prints goes to descriptor 1: a file here.
        self.shown = Path(self.folder.name, "output")
        self.saved = os.dup(1), os.dup(2)
        self.addCleanup(self.restore)
        for fd in (1, 2):
            file = os.open(self.shown, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, fd)
            os.close(file)

    def restore(self):
        for fd, saved in zip((1, 2), self.saved):
            os.dup2(saved, fd)
            os.close(saved)

    def run_guest(self, script, silence=20, total=60, allow=()):
        before = set(os.listdir("/proc/self/fd"))
        with tempfile.TemporaryFile() as image:
            self.guest = Guest(FakeMachine(script), image, self.log, allow)
            outcome = self.guest.run(Limits(silence, total))
        self.assertEqual(set(os.listdir("/proc/self/fd")), before, "descriptors left open")
        self.assertFalse(Path(f"/proc/{self.guest._qemu.pid}").exists(), "QEMU left running")
        return outcome

    def test_status_output_and_times_come_back(self):
        outcome = self.run_guest(
            BOOTED + 'to(output, b"hello\\n"); status.send(b"begin 1\\nend 1 3 1500\\nexi")\n'
            'status.send(b"t 3\\n")')
        self.assertEqual((outcome.status, outcome.guest_status), (3, 3))
        self.assertEqual(outcome.commands, [[3, 1.5]])
        self.assertIsNotNone(outcome.ready_after)
        self.assertEqual(outcome.reasons, [])
        self.assertEqual(self.shown.read_bytes(), b"hello\n")
        self.assertIn("Linux version", self.log.read_text())

    def test_success(self):
        self.assertEqual(self.run_guest(BOOTED + 'status.send(b"exit 0\\n")').status, 0)

    def test_no_status(self):
        outcome = self.run_guest(BOOTED)
        self.assertEqual(outcome.status, NO_STATUS)
        self.assertIn("without reporting", outcome.reasons[0])
        outcome = self.run_guest("pass")
        self.assertIn("before its first process", outcome.reasons[0])

    def test_qemu_fails(self):
        outcome = self.run_guest('sys.exit("cannot do it")')
        self.assertEqual(outcome.status, NO_STATUS)
        self.assertIn("QEMU ended with status 1", outcome.reasons[0])
        self.assertIn(b"cannot do it", self.shown.read_bytes())

    def test_reason_from_the_guest(self):
        outcome = self.run_guest(BOOTED + 'status.send(b"error no such file\\nexit 127\\n")')
        self.assertEqual(outcome.status, 127)
        self.assertEqual(outcome.reasons, ["in the guest: no such file"])

    def test_panic(self):
        outcome = self.run_guest(
            BOOTED + 'to(console, b"[    0.2] Kernel panic - not syncing: x\\n")')
        self.assertEqual(outcome.status, NO_STATUS)
        self.assertEqual(outcome.reasons[0], "the kernel panicked")

    def test_report_fails_a_run_that_was_content(self):
        outcome = self.run_guest(BOOTED + WARNING + 'status.send(b"exit 0\\n")')
        self.assertEqual((outcome.status, outcome.guest_status), (KERNEL_REPORT, 0))

    def test_report_keeps_the_status_of_a_run_that_failed(self):
        self.assertEqual(self.run_guest(BOOTED + WARNING + 'status.send(b"exit 1\\n")').status, 1)

    def test_allowed_report(self):
        outcome = self.run_guest(BOOTED + WARNING + 'status.send(b"exit 0\\n")', allow=["mm/x.c"])
        self.assertEqual(outcome.status, 0)
        self.assertTrue(outcome.reports[0].allowed)

    def test_silence_asks_for_the_tasks_and_then_gives_up(self):
        start = time.monotonic()
        outcome = self.run_guest(
            BOOTED + 'asked = status.recv(100); to(console, b"asked: " + asked); time.sleep(1000)',
            silence=1)
        self.assertEqual(outcome.status, NO_STATUS)
        self.assertIn("no byte on any port", outcome.reasons[0])
        self.assertIn("asked: tasks", self.log.read_text())
        self.assertLess(time.monotonic() - start, 30)

    def test_a_status_does_not_excuse_a_guest_that_hangs_afterwards(self):
        outcome = self.run_guest(
            BOOTED + 'status.send(b"exit 0\\n"); time.sleep(1000)', silence=1)
        self.assertEqual(outcome.status, NO_STATUS)

    def test_total_time(self):
        outcome = self.run_guest(
            BOOTED + 'while True: to(output, b"."); time.sleep(0.05)', total=1)
        self.assertEqual(outcome.reasons, ["not done after 1 s"])


if __name__ == "__main__":
    unittest.main()
