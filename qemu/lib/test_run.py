# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qemu/run's options: bad ones are errors, good ones reach QEMU's command line."""

import subprocess
import sys
import unittest

from common import ROOT

USAGE = 2


def run(*args):
    return subprocess.run([sys.executable, "-B", ROOT / "qemu" / "run", *args], text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


class OptionsTest(unittest.TestCase):
    def dry(self, *args, flavour="c"):
        # The rest of the command line belongs to the program, so --dry-run comes first.
        done = run("--flavour", flavour, "--dry-run", *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_bad_options(self):
        for args, message in (
            ([], "--flavour"),
            (["--flavour", "fortran"], "one of: rust c rust-debug c-debug rust-lab rust-lab-debug rust-small"),
            (["--flavour", "c", "--filter", "x", "--exec", "p"], "--filter is for the suite"),
            (["--flavour", "c", "--exec"], "needs a program"),
            (["--flavour", "c", "--host-root"], "needs a command"),
            (["--flavour", "c", "--shell", "--exec", "p"], "exclude each other"),
            (["--flavour", "c", "--commands", "f", "--host-root", "p"], "exclude each other"),
            (["--flavour", "c", "--icount", "--smp", "2"], "excludes --smp"),
            (["--flavour", "c", "--icount", "--kvm", "force"], "excludes --kvm"),
            (["--flavour", "c", "--smp", "0"], "too small"),
            (["--flavour", "c", "--smp", "two"], "not a number"),
            (["--flavour", "c", "--nodes", "0"], "too small"),
            (["--flavour", "c", "--mem", "1"], "too small"),
            (["--flavour", "c", "--mem", "2T"], "not a size"),
            (["--flavour", "c", "--allow-report", "("], "no regular expression"),
            (["--flavour", "c", "--env", "=x"], "not NAME=VALUE"),
            (["--flavour", "c", "--out", "/nonexistent"], "no such folder"),
            (["--flavour", "c", "--json", "/nonexistent/file"], "no such folder"),
            (["--flavour", "c", "--commands", "/nonexistent"], "No such file"),
            (["--flavour", "c", "--filt", "x"], "unrecognized"),
        ):
            with self.subTest(args=args):
                done = run(*args)
                self.assertEqual(done.returncode, USAGE, done.stderr)
                self.assertIn(message, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(done.stdout, "")

    def test_command_line(self):
        line = self.dry("--smp", "3", "--mem", "1G", "--append", "a=b", "--append", "c")
        for part in ("-accel tcg", "-smp 3", "-m 1024", "a=b c'", "-no-reboot", "panic=-1",
                     "build/kernel/c/bzImage", "name=uffd.output", "name=uffd.status"):
            self.assertIn(part, line)
        self.assertNotIn("fsdev", line)

    def test_kinds_of_machines(self):
        self.assertIn("-icount shift=0 -smp 1", self.dry("--icount"))
        self.assertIn("-cpu max,la57=off,-erms,-fsrm,hypervisor=off ", self.dry("--disguise"))
        self.assertIn("-cpu max,la57=off,-erms,-fsrm ", self.dry())
        self.assertIn("-cpu max,la57=off ", self.dry("--icount"))
        self.assertIn("-accel kvm", self.dry("--kvm", "force"))
        self.assertIn("-s -S", self.dry("--gdb"))
        self.assertIn("-serial mon:stdio", self.dry("--shell"))

    def test_code_is_patched_while_nobody_else_runs(self):
        turns = "-accel tcg,thread=single "
        for flavour in ("c", "rust-lab", "c-no-thp"):
            self.assertIn(turns, self.dry(flavour=flavour))
        self.assertIn("-accel tcg ", self.dry(flavour="rust-debug"))
        self.assertIn("-accel tcg ", self.dry("--parallel", "on"))
        self.assertIn(turns, self.dry("--parallel", "off", flavour="rust-debug"))
        self.assertIn("-accel tcg ", self.dry("--icount"))

    def test_nodes(self):
        self.assertIn(" numa=fake=2'", self.dry("--filter", "x"))
        self.assertIn(" numa=fake=3'", self.dry("--nodes", "3", "--exec", "p"))
        for args in (["--nodes", "1"], ["--shell"], ["--exec", "p"]):
            self.assertNotIn("numa=", self.dry(*args))

    def test_host_root_is_read_only(self):
        # What follows the command is the command's, also when it looks like ours.
        line = self.dry("--host-root", "--", "ls", "--smp", "7")
        self.assertRegex(line, r"local,id=host-root,path=/,\S*readonly=on")
        self.assertRegex(line, r"local,id=host-out,path=out,\S*remap ")
        self.assertIn("-smp 2", line)


if __name__ == "__main__":
    unittest.main()
