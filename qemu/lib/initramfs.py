# SPDX-License-Identifier: GPL-2.0-only
"""Puts together the initramfs of a guest: our first process, a job for it, and static programs."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from common import BUILD, die
from cpio import Archive
from elf import why_not_static

PROGRAMS = BUILD / "selftests" / "x86_64-unknown-linux-gnu" / "release"
BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
FOLDERS = ("/dev", "/etc", "/host", "/mnt", "/proc", "/root", "/sys")


@dataclass
class Command:
    """One program to run in the guest. `limit`: seconds, 0 for none."""

    args: list
    limit: int = 0


@dataclass
class Job:
    """What the guest's first process shall do; selftests/init/src/job.rs reads it."""

    commands: list
    env: dict = field(default_factory=dict)
    cwd: str = "/"
    hugepages: int = 0
    swap: int = 0
    host_root: bool = False
    host_out: bool = False
    console: bool = False
    markers: bool = False

    def text(self):
        """The job file."""
        lines = [("env", f"{name}={value}") for name, value in self.env.items()]
        lines.append(("cwd", self.cwd))
        lines += [(key, value) for key, value in (
            ("hugepages", self.hugepages), ("swap", self.swap),
            ("host-root", self.host_root and "yes"), ("host-out", self.host_out and "yes"),
            # Scripts open /dev/stdout again, which a port, unlike a pipe, does not allow. Everyone
            # else writes to the port itself: then nothing is lost in between when a guest panics.
            ("relay", self.host_root and "yes"),
            ("markers", self.markers and "yes"), ("terminal", self.console and "console"),
        ) if value]
        for command in self.commands:
            lines += [("arg", arg) for arg in command.args]
            lines.append(("run", command.limit))
        return "".join(f"{key}={_escape(str(value))}\n" for key, value in lines)


def _escape(value):
    if "\r" in value or "\0" in value:
        die(f"an argument with a control character cannot go into the guest: {value!r}")
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def program(name):
    """The path of one of our own static programs."""
    path = PROGRAMS / name
    if not path.exists():
        die(f"{name} is not built: run `make programs`")
    return path


def base(job):
    """An archive with our first process and its job."""
    archive = Archive()
    for folder in FOLDERS:
        archive.folder(folder)
    # The kernel opens it for the first process, before anything is mounted.
    archive.char_device("/dev/console", 5, 1)
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    archive.file("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    archive.file("/init", program("uffd-init").read_bytes(), 0o755)
    archive.file("/job", job.text().encode())
    return archive


def add_static(archive, host, guest):
    """Add a program that must run without libraries."""
    reason = why_not_static(host)
    if reason:
        die(f"{host}: {reason}")
    archive.file(guest, Path(host).read_bytes(), 0o755)


def add_files(archive, host, guest):
    """Add a file or a folder of the host; a link named on the command line is followed."""
    try:
        archive.copy(os.path.realpath(host), guest)
    except (OSError, ValueError) as error:
        die(f"cannot take {host} into the guest: {error}")


def add_busybox(archive):
    """Add the host's static busybox and its applets, for the interactive shell."""
    host = next((path for path in BUSYBOX if os.path.exists(path)), None)
    if host is None or why_not_static(host):
        die("no static busybox on this machine: install busybox-static")
    add_static(archive, host, "/bin/busybox")
    applets = subprocess.run([host, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if f"/bin/{applet}" not in archive:
            archive.symlink(f"/bin/{applet}", "busybox")
