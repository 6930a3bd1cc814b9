# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line for a guest, and whether KVM can be used for it."""

import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from common import BUILD, die

QEMU = "qemu-system-x86_64"
PROBE_SECONDS = 5
_PROBE_CACHE = BUILD / "run" / "kvm-probe.json"

# A panic, and with it an oops, ends the guest at once. Everything the kernel says gets a time.
# The timer's interrupt is not tested: on a busy host the emulated one comes too late for that test.
_CMDLINE = ("console=ttyS0", "earlyprintk=serial,ttyS0", "printk.time=1", "panic=-1", "oops=panic",
            "no_timer_check")


# Not offered: QEMU copies byte by byte with them, and khugepaged stalled RCU for a minute. Guests whose
# instructions are counted are as they were.
SLOW_STRINGS = ",-erms,-fsrm"


@dataclass
class Endpoints:
    """Where the guest's image comes from and its ports go to, as QEMU is told."""

    initrd: str = "initramfs.cpio"
    console: str = "file,id=console,path=console.log"
    output: str = "file,id=output,path=output.log"
    status: str = "file,id=status,path=status.log"


@dataclass
class Machine:
    """One guest machine. `mem` in MiB; `shares`: (tag, folder, read-only) over 9p; `nodes` are the
    kernel's invention, which one without NUMA does without; `disguised`: does not say that it is one;
    `in_turn`: emulated CPUs take turns in one thread of the host's."""

    kernel: Path
    smp: int
    mem: int
    kvm: bool = False
    icount: bool = False
    gdb: bool = False
    interactive: bool = False
    append: str = ""
    shares: tuple = ()
    nodes: int = 1
    disguised: bool = False
    in_turn: bool = False

    @property
    def accel(self):
        """For people."""
        if self.kvm:
            return "kvm"
        return "tcg, counting instructions" if self.icount else "tcg, in turn" if self.in_turn else "tcg"

    def cmdline(self):
        """The kernel's command line."""
        # The quieter level counts from where it stands, so it goes before the early console.
        words = ["loglevel=4", *_CMDLINE] if self.interactive else list(_CMDLINE)
        if self.gdb:
            words.append("nokaslr")
        if self.icount:
            # Calibrating it means many seconds of busy waiting, after which it is not trusted anyway.
            words.append("noapictimer")
        if self.nodes > 1:
            words.append(f"numa=fake={self.nodes}")
        if self.append:
            words.append(self.append)
        return " ".join(words)

    def command(self, ends):
        """The whole command line of QEMU."""
        args = [QEMU, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
                "-machine", "pc"]
        if self.kvm:
            accel, cpu = "kvm", "host"
        else:
            # Five-level page tables, which "max" would have, are slower to emulate and rare outside.
            accel, cpu = "tcg", "max,la57=off"
            if not self.icount:
                accel += ",thread=single" if self.in_turn else ""
                cpu += SLOW_STRINGS
        args += ["-accel", accel, "-cpu", cpu + (",hypervisor=off" if self.disguised else "")]
        if self.icount:
            args += ["-icount", "shift=0"]
        args += ["-smp", str(self.smp), "-m", str(self.mem), "-kernel", str(self.kernel)]
        if ends.initrd:
            args += ["-initrd", ends.initrd]
        args += ["-append", self.cmdline()]
        if self.interactive:
            args += ["-serial", "mon:stdio"]
        else:
            args += ["-chardev", ends.console, "-serial", "chardev:console"]
        args += ["-device", "virtio-serial-pci"]
        for name, chardev in (("output", ends.output), ("status", ends.status)):
            args += ["-chardev", chardev,
                     "-device", f"virtserialport,chardev={name},name=uffd.{name}"]
        for tag, folder, readonly in self.shares:
            path = str(folder).replace(",", ",,")
            options = ",readonly=on" if readonly else ""
            args += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{options}",
                     "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        if self.gdb:
            args += ["-s", "-S"]
        return args


def need_qemu():
    """Stop early when there is no QEMU."""
    if not shutil.which(QEMU):
        die(f"{QEMU} is missing: run `make setup`")


def kvm_usable(kernel, note):
    """Whether a guest really runs under KVM, remembered until the host boots again.

    /dev/kvm may be there, and answer, while a guest never gets anywhere. `note`: called before the
    seconds it takes to find out.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    try:
        known = json.loads(_PROBE_CACHE.read_text(encoding="ascii"))
        if known["boot"] == boot:
            return bool(known["usable"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    note(f"trying KVM for at most {PROBE_SECONDS} s")
    usable = _first_line_comes(kernel)
    _PROBE_CACHE.parent.mkdir(parents=True, exist_ok=True)
    partial = _PROBE_CACHE.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"boot": boot, "usable": usable}) + "\n", encoding="ascii")
    partial.replace(_PROBE_CACHE)
    return usable


def _first_line_comes(kernel):
    machine = Machine(kernel, smp=1, mem=512, kvm=True)
    command = machine.command(Endpoints(
        initrd="", console="stdio,id=console,signal=off",
        output="null,id=output", status="null,id=status",
    ))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, start_new_session=True) as qemu:
        try:
            end, seen = time.monotonic() + PROBE_SECONDS, b""
            while (left := end - time.monotonic()) > 0:
                if not select.select([qemu.stdout], [], [], left)[0]:
                    return False
                data = os.read(qemu.stdout.fileno(), 4096)
                seen += data
                if b"Linux version" in seen:
                    return True
                if not data:
                    return False
            return False
        finally:
            qemu.kill()
