# SPDX-License-Identifier: GPL-2.0-only
"""Runs one command against a time budget, with its output in files."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from common import last_lines

GRACE_SECONDS = 10
# A line about a command that is over by then would only be noise.
SHOW_AFTER_SECONDS = 2


@dataclass
class Outcome:
    """How a command ended. `status` is None when it could not be started or ran out of time."""

    status: int
    seconds: float
    problem: str = ""


def end_by_signal():
    """Let SIGTERM unwind the stack, so that children are ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def kill_group(proc):
    """End a command and what it started: politely first."""
    for sign, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(proc.pid, sign)
        except ProcessLookupError:
            pass
        try:
            proc.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
        if sign == signal.SIGTERM:
            # The leader is gone; what it left behind must not outlive it.
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return


def _open_group(command, out, err, env, cwd):
    return subprocess.Popen(
        [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        env=env, cwd=cwd, start_new_session=True,
    )


def run(progress, command, out, budget, err=None, env=None, cwd=None):
    """Run `command` for at most `budget` seconds; stdout goes to the file `out`.

    stderr goes to `err`, or to the same file. The last line of output is shown as progress;
    the caller ends the progress line when it knows the verdict.
    """
    start = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "wb") as stdout, open(err or os.devnull, "wb") as other:
        try:
            proc = _open_group(command, stdout, other if err else stdout, env, cwd)
        except OSError as e:
            return Outcome(None, 0.0, f"cannot run {command[0]}: {e.strerror}")
        try:
            while True:
                try:
                    status = proc.wait(timeout=0.3)
                    break
                except subprocess.TimeoutExpired:
                    pass
                seconds = time.monotonic() - start
                if seconds > budget:
                    kill_group(proc)
                    return Outcome(None, seconds, f"ran out of time ({budget} s)")
                if seconds > SHOW_AFTER_SECONDS:
                    shown = last_lines(out, 1) or [""]
                    progress.update(shown[0].strip()[:60])
        except BaseException:
            kill_group(proc)
            raise
    seconds = time.monotonic() - start
    if status < 0:
        return Outcome(status, seconds, f"killed by signal {-status}")
    return Outcome(status, seconds)
