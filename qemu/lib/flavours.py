# SPDX-License-Identifier: GPL-2.0-only
"""The flavours of the kernel, and their configuration."""

import re
from dataclasses import dataclass

from common import BUILD, ROOT, die

CONFIG = ROOT / "qemu" / "config"


@dataclass(frozen=True)
class Flavour:
    """`folder`: flavours that share it differ in few options, so switching rebuilds little.
    `objects`: what a build from nothing makes, for the progress line."""

    name: str
    folder: str
    fragments: tuple
    objects: int
    about: str

    @property
    def out(self):
        return BUILD / "kernel" / self.name

    @property
    def image(self):
        """What boots."""
        return self.out / "bzImage"

    @property
    def is_slow(self):
        """Whether debug checks make everything take several times as long."""
        return "debug" in self.fragments

    @property
    def patches_code(self):
        """Whether the kernel turns its branches by writing over them, while other CPUs run them."""
        return requested(self).get("CONFIG_JUMP_LABEL") == "y"

    def need_kernel(self, *files):
        """Stop where it was not built, or one of its other files is not there."""
        if not all(path.exists() for path in (self.image, *(self.out / name for name in files))):
            die(f"no kernel of flavour {self.name}: run `make kernel FLAVOUR={self.name}`")

    @property
    def obj(self):
        return BUILD / "obj" / self.folder


FLAVOURS = {
    f.name: f
    for f in (
        Flavour("rust", "release", ("base", "rust"), 1918, "Rust, helpers inlined, no debug checks"),
        Flavour("c", "release", ("base", "c"), 1918, "the same configuration with the C implementation"),
        Flavour("rust-debug", "debug", ("base", "debug", "rust", "debug-rust"), 1955,
                "Rust with KASAN, lockdep, SLUB poison, fault injection, KUnit"),
        Flavour("c-debug", "debug", ("base", "debug", "c"), 1955, "C with the same debug options"),
        Flavour("rust-lab", "release", ("base", "rust", "lab"), 1918,
                "Rust with bugs on purpose, see Documentation/lab.md"),
        Flavour("rust-lab-debug", "debug", ("base", "debug", "rust", "debug-rust", "lab", "lab-debug"),
                1955, "the same with all debug options of rust-debug, and one for VMAs"),
        Flavour("rust-small", "small", ("small", "rust"), 1400,
                "Rust without SMP, THP, hugetlb, swap, memcg, per-VMA locks"),
    )
}


@dataclass(frozen=True)
class Variant:
    """The release configuration with one option off, as flavours c-NAME and rust-NAME.

    `config/NAME.config` names the option and all that is lost with it.
    """

    name: str
    about: str

    @property
    def flavours(self):
        """The C kernel, which says what is right, and the Rust kernel."""
        return tuple(Flavour(f"{who}-{self.name}", "variant", ("base", self.name, who), 1918,
                             f"{who.capitalize()} {self.about}") for who in ("c", "rust"))


VARIANTS = {
    v.name: v
    for v in (
        Variant("no-thp", "without transparent huge pages"),
        Variant("no-hugetlb", "without hugetlb"),
        Variant("no-swap", "without swap"),
        Variant("no-pte-markers", "without PTE markers"),
        Variant("no-memcg", "without memory control groups"),
        Variant("no-mmu-notifier", "without MMU notifiers"),
        # PER_VMA_LOCK has no prompt: it is on wherever there are several processors.
        Variant("no-smp", "without SMP, and so without per-VMA locks and NUMA"),
    )
}


# Those of the variants, too.
EVERY_FLAVOUR = FLAVOURS | {f.name: f for v in VARIANTS.values() for f in v.flavours}


def flavour(name):
    """Look a flavour up; an unknown name lists the known ones."""
    if name not in EVERY_FLAVOUR:
        die(f"unknown FLAVOUR '{name}', one of: {' '.join(FLAVOURS)}; "
            f"or c-VARIANT, rust-VARIANT of: {' '.join(VARIANTS)}")
    return EVERY_FLAVOUR[name]


_SET = re.compile(r"^(CONFIG_\w+)=(.*)$")
_UNSET = re.compile(r"^# (CONFIG_\w+) is not set$")


def parse(text):
    """{option: value}, "n" for one that is not set."""
    found = {}
    for line in text.splitlines():
        if m := _SET.match(line):
            found[m[1]] = m[2]
        elif m := _UNSET.match(line):
            found[m[1]] = "n"
    return found


def requested(fl):
    """The options a flavour asks for; later fragments win."""
    options = {}
    for name in fl.fragments:
        options.update(parse((CONFIG / f"{name}.config").read_text()))
    return options


def dropped(wanted, final):
    """What the final .config does not grant, as readable strings."""
    return [
        f"{option}={value} (is {final.get(option, 'n')})"
        for option, value in sorted(wanted.items())
        if final.get(option, "n") != value
    ]
