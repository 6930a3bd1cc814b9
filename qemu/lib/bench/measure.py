# SPDX-License-Identifier: GPL-2.0-only
"""Boots guests, runs uffd-cost in them, and collects what it measured."""

import subprocess
import sys
from dataclasses import replace

import initramfs
import job
from bench import samples
from bench.results import PAIR, Measured, Results, origin
from bench.samples import CLOCK, THROUGHPUT, Figure
from common import LOGS, ROOT, Failure, Progress, die, last_lines
from flavours import FLAVOURS
from machine import need_qemu

# CPUs of the guests in which faults compete.
CPUS = (2, 4, 8)
GUEST_SECONDS = 3600
RUN = ROOT / "qemu" / "run"
# Each second the kernel gives pages back that a CPU keeps at hand, and a million instructions go into
# whatever is being measured: not before the guest is gone.
QUIET = "sysctl.vm.stat_interval=1000000"


class GuestFailed(Failure):
    """A guest did not do what it was asked for; the end of its log has been printed."""


def program():
    return initramfs.program("uffd-cost")


def listed():
    """The rows there are. The program lists them here as well as in a guest."""
    run = subprocess.run([program(), "--list", "--json"], text=True, capture_output=True, check=False)
    if run.returncode:
        die(f"uffd-cost --list --json failed: {run.stderr.strip()[:200]}")
    return samples.rows(run.stdout)


def need_kernels():
    """Stop before the first guest when something is missing."""
    need_qemu()
    for name in PAIR:
        FLAVOURS[name].need_kernel("config", "made-from")


class _Rows:
    """Shows which row is being measured, instead of uffd-cost's last line."""

    def __init__(self, progress, names):
        self._progress, self._names = progress, names

    def update(self, detail):
        shown = "boot"
        for number, name in enumerate(self._names, 1):
            if f'"{name}"' in detail:
                shown = f"{number} of {len(self._names)} rows: {name}"
        self._progress.update(shown)


def boot(title, flavour, rows, repeats, options):
    """(the kernel's name, {row: [Sample]}) of one guest."""
    log = LOGS / f"bench-{flavour}.log"
    console = log.with_suffix(".console")
    progress = Progress(title, sys.stderr)
    words = [word for row in rows for word in ("--rows", f"={row.name}")]
    if rows[0].group == THROUGHPUT:
        words += ["--group", THROUGHPUT]
    outcome = job.run(
        _Rows(progress, [row.name for row in rows]),
        [RUN, "--flavour", flavour, *options, "--exec", program(), "--repeats", str(repeats), *words],
        log, GUEST_SECONDS, err=console)
    if outcome.status != 0:
        progress.done("FAILED")
        for line in last_lines(console):
            print(f"    {line}", file=sys.stderr)
        raise GuestFailed(f"the guest of flavour {flavour} failed: "
                          f"{outcome.problem or f'status {outcome.status}'}, logs: {log.relative_to(ROOT)}")
    progress.done()
    return samples.parse(log.read_text(encoding="utf-8"))


def _count(flavour, rows, repeats):
    """Guest instructions. The gauge goes first."""
    gauge = samples.Row(CLOCK, "", "")
    kernel, found = boot(f"{flavour}: {len(rows)} rows, counting instructions", flavour,
                         [gauge, *rows], repeats, ["--icount", "--append", QUIET])
    samples.check_clock(flavour, found)
    return kernel, found


def _compete(cpus, rows, repeats):
    """Throughput of both kernels, which take turns so that what else the machine does meets both."""
    kernels, found = set(), {name: {} for name in PAIR}
    for turn in range(repeats):
        for name in PAIR if turn % 2 == 0 else PAIR[::-1]:
            kernel, taken = boot(
                f"{name}: throughput on {cpus} CPUs, {turn + 1} of {repeats}", name, rows, 1,
                ["--kvm", "off", "--smp", str(cpus)])
            kernels.add(kernel)
            for row, values in taken.items():
                found[name].setdefault(row, []).extend(values)
    return kernels, found


def _merge(rows, found, cpus=1):
    """The rows of the table that have at least one figure."""
    for row in rows:
        c, rust = (Figure(tuple(found[name][row.name])) if row.name in found[name] else None
                   for name in PAIR)
        if c or rust:
            yield Measured(row, c, rust, cpus)


def measure(chosen, repeats, complete):
    """Results of a run. `chosen`: the rows of each flavour, in the order of the table."""
    need_kernels()
    about = origin("", repeats, complete)
    kernels, found = set(), {name: {} for name in PAIR}
    everything = list(dict.fromkeys(row for name in PAIR for row in chosen[name]))
    alone = [row for row in everything if row.group != THROUGHPUT]
    for name in PAIR:
        rows = [row for row in alone if row in chosen[name]]
        if rows:
            kernel, found[name] = _count(name, rows, repeats)
            kernels.add(kernel)
    measured = list(_merge(alone, found))
    crowded = [row for row in everything if row.group == THROUGHPUT]
    for cpus in CPUS if crowded else ():
        names, taken = _compete(cpus, crowded, repeats)
        kernels |= names
        measured += _merge(crowded, taken, cpus)
    if len(kernels) != 1:
        die(f"the kernels are not of one version: {', '.join(sorted(kernels))}")
    return Results(replace(about, kernel=kernels.pop()), measured)
