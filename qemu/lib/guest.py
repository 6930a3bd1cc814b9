# SPDX-License-Identifier: GPL-2.0-only
"""Runs a guest: starts QEMU, follows its ports, and decides how the run ended."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import termios
import time
from collections import deque
from dataclasses import dataclass, field

from common import TAIL_LINES
from console import Watcher, user_tasks
from machine import Endpoints

# No status came back: the guest died, hung, or never got that far.
NO_STATUS = 255
# The program was content, the kernel was not.
KERNEL_REPORT = 254

_PANIC_GRACE = 10
_DUMP_GRACE = 20
_DUMP_QUIET = 2
_PR_SET_PDEATHSIG = 1


@dataclass
class Limits:
    """Seconds: of silence on all ports, and in all. 0 for none."""

    silence: float
    total: float


@dataclass
class Outcome:
    """How a run ended. `status` is what qemu/run exits with; `commands`: [status, seconds] of each."""

    status: int = NO_STATUS
    guest_status: int | None = None
    reasons: list = field(default_factory=list)
    commands: list = field(default_factory=list)
    ready_after: float | None = None
    seconds: float = 0.0
    reports: list = field(default_factory=list)
    # The console's last lines, and what programs did when the guest fell silent.
    tail: list = field(default_factory=list)
    tasks: list = field(default_factory=list)


class Guest:
    """One run of one machine."""

    def __init__(self, machine, image, console_log, allow=()):
        """`image`: open file with the initramfs; `console_log`: path of the kernel's console."""
        self._machine = machine
        self._image = image
        self._log_path = console_log
        self._watcher = Watcher(allow)
        self._outcome = Outcome()
        self._status_rest = b""
        self._errors = b""
        self._killed = None
        self._tail = deque(maxlen=TAIL_LINES)
        self._dump = None

    def run(self, limits):
        """Run to the end. Whatever happens, no QEMU is left behind."""
        start = time.monotonic()
        self._start = start
        saved = termios.tcgetattr(0) if self._machine.interactive and os.isatty(0) else None
        try:
            with open(self._log_path, "wb") as self._log:
                self._launch()
                try:
                    self._follow(limits)
                finally:
                    self._stop()
        finally:
            if saved:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
        self._outcome.seconds = time.monotonic() - start
        self._judge()
        return self._outcome

    def _launch(self):
        self._ours = selectors.DefaultSelector()
        theirs = []

        def pipe(handler):
            read, write = os.pipe()
            self._ours.register(read, selectors.EVENT_READ, handler)
            theirs.append(write)
            return write

        self._requests, status = socket.socketpair()
        self._ours.register(self._requests, selectors.EVENT_READ, self._on_status)
        theirs.append(status.fileno())
        ends = Endpoints(
            initrd=f"/dev/fd/{self._image.fileno()}",
            output=f"file,id=output,path=/dev/fd/{pipe(self._on_output)}",
            status=f"socket,id=status,fd={status.fileno()}",
        )
        if not self._machine.interactive:
            ends.console = f"file,id=console,path=/dev/fd/{pipe(self._on_console)}"
        errors = pipe(self._on_errors)
        own_session = not self._machine.interactive
        try:
            self._qemu = subprocess.Popen(
                self._machine.command(ends), stderr=errors,
                stdin=subprocess.DEVNULL if own_session else None,
                stdout=subprocess.DEVNULL if own_session else None,
                pass_fds=[self._image.fileno(), *theirs],
                start_new_session=own_session, preexec_fn=_die_with_parent,
            )
        finally:
            status.detach()
            for fd in theirs:
                os.close(fd)

    def _follow(self, limits):
        self._last_byte = time.monotonic()
        asked = panicked = None
        while self._ours.get_map():
            for key, _ in self._ours.select(timeout=0.5):
                self._read(key)
            now = time.monotonic()
            silent = now - self._last_byte
            if self._watcher.panicked:
                panicked = panicked or now
                if now - panicked > _PANIC_GRACE:
                    return self._give_up("the kernel panicked and did not restart")
            if limits.total and now - self._start > limits.total:
                return self._give_up(f"not done after {limits.total:.0f} s")
            if asked:
                if silent > _DUMP_QUIET or now - asked > _DUMP_GRACE:
                    return self._give_up(f"no byte on any port for {limits.silence:.0f} s")
            elif limits.silence and silent > limits.silence:
                if self._outcome.ready_after is None:
                    return self._give_up(f"no byte on any port for {limits.silence:.0f} s")
                asked = self._last_byte = now
                self._ask_for_tasks()

    def _ask_for_tasks(self):
        self._dump = []
        try:
            self._requests.send(b"tasks\n", socket.MSG_DONTWAIT)
        except OSError:
            pass  # QEMU is just leaving: the next round sees that.

    def _give_up(self, reason):
        self._killed = reason

    def _read(self, key):
        try:
            data = os.read(key.fd, 65536)
        except ConnectionResetError:
            data = b""
        if data:
            self._last_byte = time.monotonic()
            key.data(data)
        else:
            self._ours.unregister(key.fileobj)
            if key.fileobj is not self._requests:
                os.close(key.fd)

    def _on_output(self, data):
        while data:
            data = data[os.write(1, data):]
        # A reader that was slow is not a guest that was silent.
        self._last_byte = time.monotonic()

    def _on_console(self, data):
        self._log.write(data)
        self._log.flush()
        lines = self._watcher.feed(data)
        (self._tail if self._dump is None else self._dump).extend(lines)

    def _on_errors(self, data):
        self._errors += data
        os.write(2, data)

    def _on_status(self, data):
        *lines, self._status_rest = (self._status_rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self._outcome.ready_after = time.monotonic() - self._start
            elif word == "end":
                _, status, milliseconds = map(int, rest.split())
                self._outcome.commands.append([status, milliseconds / 1000])
            elif word == "error":
                self._outcome.reasons.append(f"in the guest: {rest}")
            elif word == "exit":
                self._outcome.guest_status = int(rest)

    def _stop(self):
        # A guest that ended by itself has closed all ports; anything else is killed.
        try:
            if self._killed is None and not self._ours.get_map():
                self._qemu.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._killed = "QEMU did not leave"
        finally:
            self._qemu.kill()
            self._qemu.wait()
            for key in list(self._ours.get_map().values()):
                if key.fileobj is not self._requests:
                    os.close(key.fd)
            self._ours.close()
            self._requests.close()

    def _judge(self):
        outcome = self._outcome
        self._watcher.finish()
        outcome.reports = self._watcher.reports
        outcome.tail = list(self._tail)
        outcome.tasks = user_tasks(self._dump or [])
        bad = self._watcher.bad()
        if self._killed:
            outcome.reasons.insert(0, self._killed)
        elif outcome.guest_status is None:
            outcome.reasons.insert(0, self._why_no_status())
        else:
            outcome.status = outcome.guest_status
        if bad:
            outcome.reasons.append("the kernel reported: " + ", ".join(r.kind for r in bad))
            if outcome.status == 0:
                outcome.status = KERNEL_REPORT

    def _why_no_status(self):
        if self._watcher.panicked:
            return "the kernel panicked"
        if self._qemu.returncode:
            return f"QEMU ended with status {self._qemu.returncode}"
        if self._outcome.ready_after is None:
            return "the guest ended before its first process had started"
        return "the guest ended without reporting a status"


def _die_with_parent():
    # Even a runner that is killed outright leaves no QEMU behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def exit_on_signals():
    """Turn the usual signals into an ordinary exit, so that clean-up runs."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
