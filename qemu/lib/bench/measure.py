# SPDX-License-Identifier: GPL-2.0-only
"""Boots guests, runs uffd-cost in them, and collects what it measured."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Callable

import initramfs
import job
from bench import samples
from bench.results import PAIR, PROGRAM, Measured, Origin, Results, continues, origin
from bench.samples import CLOCK, THROUGHPUT, Figure
from common import LOGS, ROOT, Failure, Progress, die, last_lines
from flavours import FLAVOURS
from machine import need_qemu

# CPUs of the guests in which faults compete.
CPUS = (2, 4, 8)
GUEST_SECONDS = 3600
# A sample of throughput without this was taken where nobody looked for it.
WAITS = "spinlock waits"
RUN = ROOT / "qemu" / "run"
# What a guest dies of whose CPUs run at once while its kernel patches its code (see --parallel of qemu/run),
# and how many it gets.
STALE_BREAKPOINT, BOOTS = "Oops: int3", 5
# Each second the kernel gives pages back that a CPU keeps at hand, and a million instructions go into
# whatever is being measured: not before the guest is gone.
QUIET = "sysctl.vm.stat_interval=1000000"


class GuestFailed(Failure):
    """A guest did not do what it was asked for; the end of its log has been printed."""


def program():
    return initramfs.program(PROGRAM)


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

    def __init__(self, progress, names, finished):
        self._progress, self._names, self._finished = progress, names, finished
        self._number = 0

    def update(self, detail):
        for number, name in enumerate(self._names, 1):
            if f'"{name}"' in detail and number != self._number:
                self._number = number
                self._finished()
        of = f"{self._number} of {len(self._names)} rows: {self._names[self._number - 1]}"
        self._progress.update(of if self._number else "boot")


def boot(title, flavour, rows, repeats, options, finished):
    """Have one guest measure, and another one when QEMU was what failed. `finished` gets the kernel's
    name and {row: [Sample]}, each time more rows are done, and at the end, whatever that is."""
    for left in reversed(range(BOOTS)):
        try:
            _boot(Progress(title, sys.stderr), flavour, rows, repeats, options, finished)
            break
        except GuestFailed:
            if not left or STALE_BREAKPOINT not in _console(flavour).read_text(encoding="utf-8"):
                raise
            print("QEMU ran a breakpoint of the kernel's that was gone: another guest", file=sys.stderr)


def _console(flavour):
    return LOGS / f"bench-{flavour}.console"


def _boot(progress, flavour, rows, repeats, options, finished):
    log, console = LOGS / f"bench-{flavour}.log", _console(flavour)
    words = [word for row in rows for word in ("--rows", f"={row.name}")]
    if rows[0].group == THROUGHPUT:
        words += ["--group", THROUGHPUT]

    def tell(whole=False):
        kernel, found = samples.parse(log.read_text(encoding="utf-8"), whole)
        finished(kernel, {row: taken for row, taken in found.items() if len(taken) == repeats})

    try:
        outcome = job.run(
            _Rows(progress, [row.name for row in rows], tell),
            [RUN, "--flavour", flavour, *options, "--exec", program(), "--repeats", str(repeats), *words],
            log, GUEST_SECONDS, err=console)
    except BaseException:
        tell()
        raise
    if outcome.status != 0:
        progress.done("FAILED")
        for line in last_lines(console):
            print(f"    {line}", file=sys.stderr)
        tell()
        raise GuestFailed(f"the guest of flavour {flavour} failed: "
                          f"{outcome.problem or f'status {outcome.status}'}, logs: {log.relative_to(ROOT)}")
    progress.done()
    tell(whole=True)


@dataclass
class _Run:
    """What a run has so far: samples by flavour, CPUs and row."""

    about: Origin
    chosen: dict
    keep: Callable
    samples: dict = field(default_factory=dict)

    def add(self, known):
        """Take over what an earlier run has measured."""
        self.about = replace(self.about, kernel=known.origin.kernel)
        for m in known.rows:
            for flavour, figure in zip(PAIR, (m.c, m.rust)):
                if figure:
                    self.of(flavour, m.cpus)[m.row.name] = list(figure.samples)

    def of(self, flavour, cpus):
        return self.samples.setdefault((flavour, cpus), {})

    def lacking(self, flavour, cpus, lacks):
        """The rows of a guest with so many CPUs whose samples are not all there."""
        found = self.of(flavour, cpus)
        return [row for row in self.chosen[flavour]
                if (row.group == THROUGHPUT) == (cpus > 1) and lacks(found.get(row.name, []))]

    def finished(self, kernel):
        """More rows are there, which this kernel has measured."""
        if self.about.kernel not in ("", kernel):
            die(f"the kernels are not of one version: {', '.join(sorted({self.about.kernel, kernel}))}")
        self.about = replace(self.about, kernel=kernel)
        found = self.results(complete=False)
        if found.rows:
            self.keep(found)

    def results(self, complete):
        """All rows that have at least one figure, in the order of the table."""
        rows = list(dict.fromkeys(row for name in PAIR for row in self.chosen[name]))
        measured = []
        for cpus in (1, *CPUS):
            for row in rows:
                taken = [self.of(flavour, cpus).get(row.name) for flavour in PAIR]
                c, rust = (Figure(tuple(samples)) if samples else None for samples in taken)
                if c or rust:
                    measured.append(Measured(row, c, rust, cpus))
        return Results(replace(self.about, complete=complete), measured)


def _count(run, flavour, repeats):
    """Guest instructions of the rows that lack them. The gauge goes first."""
    rows = run.lacking(flavour, 1, lambda taken: not taken)
    if not rows:
        return

    def finished(kernel, found):
        if found:
            samples.check_clock(flavour, found)
            run.of(flavour, 1).update((row.name, found[row.name]) for row in rows if row.name in found)
            run.finished(kernel)

    boot(f"{flavour}: {len(rows)} rows, counting instructions", flavour,
         [samples.Row(CLOCK, "", ""), *rows], repeats, ["--icount", "--append", QUIET], finished)


def _at_once(cpus):
    """Options of a guest whose CPUs compete."""
    return ["--kvm", "off", "--smp", str(cpus), "--parallel", "on"]


def _compete(run, cpus, flavour, turn, repeats):
    """One more sample of throughput for the rows that lack it."""
    rows = run.lacking(flavour, cpus, lambda taken: len(taken) <= turn)
    if not rows:
        return
    before = {row.name: run.of(flavour, cpus).get(row.name, []) for row in rows}

    def finished(kernel, found):
        run.of(flavour, cpus).update((row, before[row] + taken) for row, taken in found.items())
        if found:
            run.finished(kernel)

    boot(f"{flavour}: throughput on {cpus} CPUs, {turn + 1} of {repeats}", flavour, rows, 1, _at_once(cpus),
         finished)


def _watch(run, cpus, flavour, repeats):
    """Waits for locks of the rows that lack them, from a guest of their own.

    A guest that knows that it is one has spinlocks whose waits no tracepoint tells of. The others are
    slow where CPUs are emulated, so their throughput does not count.
    """
    rows = run.lacking(flavour, cpus, lambda taken: any(WAITS not in sample.extra for sample in taken))
    if not rows:
        return

    def finished(kernel, found):
        of = run.of(flavour, cpus)
        for name, watched in found.items():
            of[name] = [replace(sample, extra={**watch.extra, **sample.extra})
                        for sample, watch in zip(of[name], watched)]
        if found:
            run.finished(kernel)

    boot(f"{flavour}: waits for locks on {cpus} CPUs", flavour, rows, repeats,
         [*_at_once(cpus), "--disguise"], finished)


def measure(chosen, repeats, complete, keep=lambda found: None, known=None):
    """Results of a run. `chosen`: the rows of each flavour, in the order of the table.

    `keep` gets what is there each time more rows are finished. `known` is what an earlier run kept.
    """
    need_kernels()
    run = _Run(origin("", repeats, complete), chosen, keep)
    if known:
        continues(known.origin, run.about)
        run.add(known)
    for flavour in PAIR:
        _count(run, flavour, repeats)
    # The kernels take turns, so that what else the machine does meets both.
    for cpus in CPUS:
        for turn in range(repeats):
            for flavour in PAIR if turn % 2 == 0 else PAIR[::-1]:
                _compete(run, cpus, flavour, turn, repeats)
        for flavour in PAIR:
            _watch(run, cpus, flavour, repeats)
    return run.results(complete)
