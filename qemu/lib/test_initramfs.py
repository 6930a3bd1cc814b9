# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the job file and of the check for static programs."""

import struct
import tempfile
import unittest
from pathlib import Path

from common import Failure
from elf import why_not_static
from initramfs import Command, Job


class JobTest(unittest.TestCase):
    def test_plain_job(self):
        job = Job([Command(["/bin/a", "b c"])], {"PATH": "/bin"})
        self.assertEqual(job.text(), "env=PATH=/bin\ncwd=/\narg=/bin/a\narg=b c\nrun=0\n")

    def test_everything(self):
        job = Job([Command(["a"], 5), Command(["b"])], cwd="/tmp", hugepages=3, swap=4096,
                  host_root=True, host_out=True, console=True, markers=True)
        self.assertEqual(
            job.text(),
            "cwd=/tmp\nhugepages=3\nswap=4096\nhost-root=yes\nhost-out=yes\nrelay=yes\n"
            "markers=yes\nterminal=console\narg=a\nrun=5\narg=b\nrun=0\n")

    def test_escapes(self):
        self.assertIn("arg=a\\nb\\\\n\n", Job([Command(["a\nb\\n"])]).text())
        with self.assertRaises(Failure):
            Job([Command(["a\0b"])]).text()


class StaticTest(unittest.TestCase):
    def check(self, data, mode=0o755):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "program")
            path.write_bytes(data)
            path.chmod(mode)
            return why_not_static(path)

    def elf(self, kind=2, machine=62, segments=(1,)):
        header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, kind, machine, 1, 0,
                             64, 0, 0, 64, 56, len(segments), 0, 0, 0)
        return header + b"".join(struct.pack("<I52x", segment) for segment in segments)

    def test_static_programs(self):
        self.assertIsNone(self.check(self.elf()))
        self.assertIsNone(self.check(self.elf(kind=3, segments=(1, 2))))

    def test_others(self):
        self.assertIn("dynamically linked", self.check(self.elf(kind=3, segments=(6, 3, 1))))
        self.assertIn("script", self.check(b"#!/bin/sh\n" + b" " * 100))
        self.assertIn("not an x86-64", self.check(self.elf(machine=183)))
        self.assertIn("not a program", self.check(self.elf(kind=1)))
        self.assertIn("damaged", self.check(self.elf(segments=(1, 1))[:-8]))
        self.assertIn("not executable", self.check(self.elf(), mode=0o644))
        self.assertIn("no such file", why_not_static("/nonexistent"))
        self.assertIn("not a regular", why_not_static("/"))


if __name__ == "__main__":
    unittest.main()
