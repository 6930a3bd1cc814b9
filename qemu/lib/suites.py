# SPDX-License-Identifier: GPL-2.0-only
"""What `make check` runs, as data. To add a suite, add an entry to SUITES."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import differences
from common import BUILD, ROOT, toolchain
from summary import read_cargo, read_ktap, read_unittest

QEMU = ROOT / "qemu"
SELFTESTS = ROOT / "selftests"
PURE = ROOT / "rust" / "pure"


@dataclass(frozen=True)
class Suite:
    """One kind of test.

    `command` takes a flavour ("" where there is none) and returns the argument list.
    `read` turns its standard output into a Tally; None: the exit status is the only result.
    `rows`: the command writes its own rows to the file that `rows_file` names.
    `flavours` belong to every run, `long` only to `--long`; ("",) = not about a kernel.
    `needs`: suites that must have passed first, for the same flavour where they have flavours.
    `needs_also`: (suite, flavour) pairs that must have passed, too.
    `skips` takes a flavour and returns {test: reason} for the tests that skip there. One that skips
    beyond that counts as a failure, and so does one that does not skip though it is listed.
    """

    name: str
    about: str
    command: Callable
    budget: int
    read: Callable = None
    rows: bool = False
    flavours: tuple = ("",)
    long: tuple = ()
    needs: tuple = ()
    needs_also: tuple = ()
    skips: Callable = lambda flavour: {}
    cwd: Path = ROOT
    env: dict = field(default_factory=dict)


def rows_file(name, flavour):
    return BUILD / "run" / "check" / f"{name}-{flavour or 'host'}.rows"


def cargo(*args):
    """A cargo command with the compiler the kernel is built with."""
    return lambda flavour: [toolchain().cargo, *args]


def environment(suite):
    """The suite's own variables on top of a clean build environment."""
    env = toolchain().env() if suite.env else dict(os.environ)
    if suite.env:
        env["RUSTC"] = toolchain().rustc
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        env.pop(name, None)
    return {**env, **suite.env}


_PURE = {"CARGO_TARGET_DIR": str(BUILD / "pure")}
_LOOM = {"CARGO_TARGET_DIR": str(BUILD / "loom"), "RUSTFLAGS": "--cfg loom"}
_GUEST = {"CARGO_TARGET_DIR": str(BUILD / "selftests")}
_BINDINGS = {**_GUEST, "UFFD_KERNEL_UAPI": str(BUILD / "src" / "linux" / "include" / "uapi")}

SUITES = (
    Suite(
        "style", "layers, unsafe, licences, lengths, rustfmt of the crate",
        lambda flavour: [QEMU / "style"],
        budget=120,
    ),
    Suite(
        "tools", "unit tests of the Python modules under qemu/lib",
        lambda flavour: [sys.executable, "-B", "-m", "unittest", "discover",
                         "-s", QEMU / "lib", "-p", "test_*.py"],
        budget=300, read=read_unittest,
    ),
    Suite(
        "pure-format", "rustfmt of rust/pure",
        cargo("fmt", "--check"),
        budget=60, cwd=PURE, env=_PURE,
    ),
    Suite(
        "pure-lint", "clippy of rust/pure",
        cargo("clippy", "--locked", "--all-targets", "--", "-D", "warnings"),
        budget=600, cwd=PURE, env=_PURE,
    ),
    Suite(
        "pure", "unit and property tests of rust/pure on the host",
        cargo("test", "--locked", "--release"),
        budget=900, read=read_cargo, cwd=PURE, env=_PURE,
    ),
    Suite(
        "loom", "the wait protocol of rust/pure in all interleavings",
        cargo("test", "--locked", "--release", "--test", "loom_*"),
        budget=1200, read=read_cargo, cwd=PURE, env=_LOOM,
    ),
    Suite(
        "guest-format", "rustfmt of selftests/",
        cargo("fmt", "--all", "--check"),
        budget=60, cwd=SELFTESTS, env=_GUEST,
    ),
    Suite(
        "guest-lint", "clippy of selftests/",
        cargo("clippy", "--locked", "--release", "--workspace", "--all-targets",
              "--", "-D", "warnings"),
        budget=600, cwd=SELFTESTS, env=_GUEST,
    ),
    Suite(
        "guest-unit", "unit tests of the guest's programs, on the host",
        cargo("test", "--locked", "--release", "--workspace", "--exclude", "uffd"),
        budget=600, read=read_cargo, cwd=SELFTESTS, env=_GUEST,
    ),
    Suite(
        "tree", "the kernel tree: fetched, verified, patched",
        lambda flavour: [QEMU / "kernel", "tree"],
        budget=900,
    ),
    Suite(
        "bindings", "ioctl numbers and layouts of the uffd crate against the C headers",
        cargo("test", "--locked", "--release", "-p", "uffd"),
        budget=600, read=read_cargo, cwd=SELFTESTS, env=_BINDINGS, needs=("tree",),
    ),
    Suite(
        "programs", "build of the guest's programs",
        lambda flavour: [QEMU / "programs"],
        budget=600,
    ),
    Suite(
        "kernel", "build of the kernel, every requested option granted",
        lambda flavour: [QEMU / "kernel", "build", flavour],
        budget=2700, flavours=("c", "rust", "rust-debug"),
        long=("rust-small", "c-debug", "rust-lab", "rust-lab-debug"), needs=("tree",),
    ),
    Suite(
        "lint", "clippy of the crate with the kernel's lints",
        lambda flavour: [QEMU / "kernel", "clippy", flavour],
        budget=900, flavours=("rust",), needs=("kernel",),
    ),
    Suite(
        "without-lab", "the crate's objects are the same without the laboratory's sources",
        lambda flavour: [QEMU / "kernel", "without-lab"],
        budget=900, flavours=("rust",), needs=("kernel",),
    ),
    Suite(
        "kernel-without-lab", "the kernel is the same without the laboratory's sources",
        lambda flavour: [QEMU / "kernel", "without-lab", "--whole"],
        budget=1800, flavours=(), long=("rust",), needs=("kernel",),
    ),
    Suite(
        "guest", "the project's own suite in the guest",
        lambda flavour: [QEMU / "run", "--flavour", flavour],
        budget=1200, read=read_ktap, skips=differences.guest_skips,
        flavours=("c", "rust", "rust-debug"),
        long=("rust-small", "c-debug"), needs=("kernel", "programs"),
    ),
    Suite(
        "bench", "guest instructions per operation beside those of C, and growth in a crowd",
        lambda flavour: [QEMU / "bench", "--gate"],
        budget=600, read=read_ktap, flavours=("rust",), needs=("kernel", "programs"),
        needs_also=(("kernel", "c"),),
    ),
    Suite(
        "study", "scenarios go as they should, and their traces show what they must",
        lambda flavour: [QEMU / "study", "--check", "--flavour", flavour],
        budget=900, read=read_ktap, flavours=("c", "rust"), long=("rust-debug",),
        needs=("kernel", "programs"),
    ),
    Suite(
        "kunit", "the crate's unit tests in the kernel",
        lambda flavour: [QEMU / "kunit", "--flavour", flavour],
        budget=600, read=read_ktap, flavours=("rust-debug",), needs=("kernel", "programs"),
    ),
    Suite(
        "kselftest", "the kernel's own userfaultfd tests in the guest",
        lambda flavour: [QEMU / "kselftest", "--flavour", flavour,
                         "--summary", rows_file("kselftest", flavour)],
        budget=10800, rows=True, flavours=("c", "rust"), long=("rust-debug", "c-debug"),
        needs=("kernel", "programs"),
    ),
    Suite(
        "study-matrix", "every defect of the laboratory is caught, and a sound kernel is not",
        lambda flavour: [QEMU / "study-matrix"],
        budget=3600, flavours=(), long=("rust-lab",), needs=("kernel", "programs"),
        needs_also=(("kernel", "rust-lab-debug"),),
    ),
    Suite(
        "configs", "kernels with one option off, C and Rust compared",
        lambda flavour: [QEMU / "check-configs", "--summary", rows_file("configs", flavour)],
        budget=18000, rows=True, flavours=(), long=("",), needs=("tree", "programs"),
    ),
)
