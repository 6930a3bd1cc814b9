# SPDX-License-Identifier: GPL-2.0-only
"""Everything that one run has measured, and what it was measured on; kept in a file."""

import hashlib
import json
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import initramfs
from bench.samples import INSTRUCTIONS, Figure, Row, Sample
from common import commit, die, write_whole
from flavours import FLAVOURS, parse
from machine import QEMU

FORMAT = 2
PAIR = ("c", "rust")
PROGRAM = "uffd-cost"
# What the flavours differ in: the choice, and what only exists after it.
_CHOICE = ("CONFIG_USERFAULTFD_C", "CONFIG_USERFAULTFD_RUST")


@dataclass(frozen=True)
class Measured:
    """One row of the table. A figure is None where that kernel has none, or was not asked."""

    row: Row
    c: Figure | None
    rust: Figure | None
    # 1: the guest counted instructions.
    cpus: int = 1

    @property
    def key(self):
        return self.row.name, self.cpus

    @property
    def name(self):
        """For people."""
        name = self.row.name
        if self.cpus > 1:
            name += f", {self.cpus} CPUs"
        return name if self.row.unit == INSTRUCTIONS or self.cpus > 1 else f"{name} [{self.row.unit}]"

    @property
    def figures(self):
        return [figure for figure in (self.c, self.rust) if figure]

    @property
    def ratio(self):
        """Rust by C, None where one is missing."""
        return self.rust.cost / self.c.cost if self.c and self.rust and self.c.cost else None

    @property
    def spread(self):
        """Of the kernel where it is larger."""
        return max(figure.spread for figure in self.figures)


@dataclass(frozen=True)
class Origin:
    """What was measured, with what, and when."""

    kernel: str
    # Of the options that both kernels have alike.
    config: str
    commit: str
    # What the image of each flavour was made from, and the program's hash.
    images: dict
    qemu: str
    date: str
    repeats: int
    # Whether every row was measured that there was.
    complete: bool

    def __str__(self):
        return (f"{self.kernel}, options {self.config[:12]}, commit {self.commit}, "
                f"QEMU {self.qemu}, {self.repeats} repeats, {self.date[:10]}")


@dataclass(frozen=True)
class Results:
    """A run."""

    origin: Origin
    rows: list

    def of(self, group):
        """The rows of a group."""
        return [m for m in self.rows if m.row.group == group]

    def families(self):
        """{family: its rows by number}, of those that were counted."""
        found = {}
        for m in self.rows:
            if m.row.family and m.row.n is not None and m.cpus == 1:
                found.setdefault(m.row.family, []).append(m)
        return {name: sorted(rows, key=lambda m: m.row.n) for name, rows in found.items()}


def config_hash(texts):
    """The hash of the options of all kernels, which must be alike but for the choice."""
    shared = [{option: value for option, value in parse(text).items()
               if value != "n" and not option.startswith(_CHOICE)} for text in texts]
    for other in shared[1:]:
        differ = [option for option in shared[0].keys() | other.keys()
                  if shared[0].get(option) != other.get(option)]
        if differ:
            die(f"the kernels {' and '.join(PAIR)} differ in {' '.join(sorted(differ))}: "
                "run `make kernel` for both")
    lines = "".join(f"{option}={value}\n" for option, value in sorted(shared[0].items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def origin(kernel, repeats, complete):
    """About the images and the program that are there now. The commit has a mark when files differ from it."""
    outs = {name: FLAVOURS[name].out for name in PAIR}
    program = initramfs.program(PROGRAM)
    told = subprocess.run([QEMU, "--version"], text=True, capture_output=True, check=False)
    version = re.search(r"version (\S+)", told.stdout)
    return Origin(
        kernel, config_hash([(out / "config").read_text() for out in outs.values()]),
        commit(),
        {**{name: (out / "made-from").read_text().strip() for name, out in outs.items()},
         program.name: hashlib.sha256(program.read_bytes()).hexdigest()},
        version[1] if version else "unknown",
        datetime.now(timezone.utc).isoformat(timespec="seconds"), repeats, complete)


def continues(known, about):
    """Stop where a run cannot go on with what an earlier one has measured."""
    differ = [name for name in ("config", "images", "qemu", "repeats")
              if getattr(known, name) != getattr(about, name)]
    if differ:
        die(f"what is there was measured with other {' and '.join(differ)}: start without --resume")


def _figure(figure):
    return figure and [asdict(sample) for sample in figure.samples]


def write(path, results):
    """Put a run into a file, whole or not at all."""
    rows = [{**asdict(m.row), "cpus": m.cpus, "c": _figure(m.c), "rust": _figure(m.rust)}
            for m in results.rows]
    text = json.dumps({"format": FORMAT, **asdict(results.origin), "rows": rows}, indent=1)
    write_whole(path, text + "\n")


def _read_figure(samples):
    return Figure(tuple(Sample(**sample) for sample in samples)) if samples else None


def read(path):
    """A run from a file; what is no such file is an error that says why."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        die(f"{path}: {e.strerror}")
    except ValueError:
        die(f"{path}: not JSON, so not a file of results")
    version = found.get("format") if isinstance(found, dict) else None
    if version is None:
        die(f"{path}: not a file of results")
    if version != FORMAT:
        die(f"{path}: format {version} of results; this program knows format {FORMAT}")
    try:
        rows = []
        for item in found["rows"]:
            c, rust, cpus = (item.pop(name) for name in ("c", "rust", "cpus"))
            rows.append(Measured(Row(**item), _read_figure(c), _read_figure(rust), cpus))
        if not all(m.figures for m in rows):
            die(f"{path}: a row without samples")
        about = {name: found[name] for name in Origin.__dataclass_fields__}
        return Results(Origin(**about), rows)
    except (KeyError, TypeError, AttributeError) as e:
        return die(f"{path}: damaged: {e}")
