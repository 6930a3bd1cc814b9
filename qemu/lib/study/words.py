# SPDX-License-Identifier: GPL-2.0-only
"""What happens in one line of a trace, in words."""

import errno
import signal

PAGE = 4096
_ALL = (1 << 63) - 1
_FAULT_FLAGS = ((1, "write"), (2, "write-protected"), (4, "minor"), (8, "protected"))
_MODES = ((1, "missing"), (2, "write-protect"), (4, "minor"), (8, "protect"))
# Bit 0 of the mode argument of the two that protect: on or off.
_PROTECTS = ("writeprotect", "rwprotect")


def duration(micros):
    """A time that a person can take in: three digits or so."""
    if micros is None:
        return "-"
    if micros < 1000:
        return f"{micros} µs"
    if micros < 100_000:
        return f"{micros / 1000:.2f} ms"
    if micros < 1_000_000:
        return f"{micros / 1000:.0f} ms"
    return f"{micros / 1_000_000:.2f} s"


def moment(micros):
    """A time since the start, exactly."""
    return f"{micros / 1000:,.3f} ms"


def span(start, length):
    """A range of addresses."""
    if start == 0 and length >= _ALL:
        return "everybody"
    pages = length // PAGE
    size = f"{pages:,} page{'s' * (pages != 1)}" if length % PAGE == 0 else f"{length:,} bytes"
    return f"{size} at {start:#x}"


def outcome(ret):
    """What a call gave back: bytes, or an error by its name."""
    if ret < 0:
        return errno.errorcode.get(-ret, str(ret))
    return f"{ret:,} bytes" if ret else "done"


def errno_or_done(ret):
    """Whether a call did what it was to, or the error by its name."""
    return outcome(ret) if ret < 0 else "done"


def access(flags):
    """What a faulting thread wanted."""
    return "write" if flags & 1 else "read"


def _bits(value, names):
    return ", ".join(name for bit, name in names if value & bit) or "nothing"


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def resolve(f):
    """A request that resolves faults."""
    what = f["kind"].upper()
    if f["start"] == f["len"] == 0:
        return f"{what}: {outcome(f['ret'])}, before its argument was looked at"
    if f["kind"] in _PROTECTS:
        what += ", on," if f["mode"] & 1 else ", off,"
    return f"{what} {span(f['start'], f['len'])}: {outcome(f['ret'])}"


def announced(f):
    """An event with its arguments."""
    if f["kind"] == "fork":
        return f"fork, the child has context {f['arg0']}"
    if f["kind"] == "remap":
        return f"remap of {span(f['arg0'], f['arg2'])} to {f['arg1']:#x}"
    return f"{f['kind']} of {span(f['arg0'], f['arg1'] - f['arg0'])}"


_LOCKS = {"mmap": "the lock of the address space", "vma": "the lock of the VMA"}
_WORDS = {
    "uffd_ctx_create": lambda f: f"context {f['ctx']} is made",
    "uffd_ctx_dup": lambda f: f"context {f['ctx']} is made for a child, after context {f['parent']}",
    "uffd_ctx_release": lambda f: f"the last descriptor of context {f['ctx']} is closed",
    "uffd_ctx_free": lambda f: f"the memory of context {f['ctx']} is given back",
    "uffd_register": lambda f: f"registers {span(f['start'], f['len'])} for "
                               f"{_bits(f['modes'], _MODES)}: {outcome(f['ret'])}",
    "uffd_unregister": lambda f: f"unregisters {span(f['start'], f['len'])}: {outcome(f['ret'])}",
    "uffd_fault_queue": lambda f: f"fault {f['ctx']}.{f['fault']}: {access(f['flags'])} at "
                                  f"{f['address']:#x} ({f['reason']}), queued",
    "uffd_fault_refused": lambda f: f"fault at {f['address']:#x} is refused: {f['why']}",
    "uffd_fault_read": lambda f: f"reads the message of fault {f['ctx']}.{f['fault']}",
    "uffd_fault_unread": lambda f: f"cannot take the message of fault {f['ctx']}.{f['fault']}: "
                                   "unread again",
    "uffd_fault_wake": lambda f: f"wakes fault {f['ctx']}.{f['fault']}",
    "uffd_fault_done": lambda f: f"fault {f['ctx']}.{f['fault']} is over: {f['how']}",
    "uffd_wake": lambda f: f"wake-up of {span(f['start'], f['len'])}: {f['woken']:,} woken",
    "uffd_resolve": resolve,
    "uffd_eagain": lambda f: f"EAGAIN for {f['kind'].upper()}: {f['why']}",
    "uffd_event_queue": lambda f: f"event {f['ctx']}.{f['event']}: {announced(f)}, queued",
    "uffd_event_read": lambda f: f"reads event {f['ctx']}.{f['event']}",
    "uffd_event_unread": lambda f: f"cannot take event {f['ctx']}.{f['event']}: unread again",
    "uffd_event_done": lambda f: f"event {f['ctx']}.{f['event']} is over: {f['how']}",
    "uffd_changing": lambda f: f"mappings of context {f['ctx']} are changing: {f['count']} now"
                               if f["count"] else f"mappings of context {f['ctx']} are settled",
    "uffd_lock_drop": lambda f: f"gives back {_LOCKS.get(f['what'], f['what'])}",
    "signal_generate": lambda f: f"{signal_name(f['sig'])} is sent",
    "signal_deliver": lambda f: f"takes {signal_name(f['sig'])}",
}


def describe(line):
    """The line in words, None for one that is not worth any."""
    words = _WORDS.get(line.event)
    return words and words(line.fields)


def kind(line):
    """What sort of thing it is, to be counted by."""
    f = line.fields
    if line.event == "uffd_resolve":
        return f"{f['kind'].upper()}: {errno_or_done(f['ret'])}"
    if line.event in ("uffd_register", "uffd_unregister"):
        return f"{line.event.removeprefix('uffd_').upper()}: {errno_or_done(f['ret'])}"
    if line.event == "uffd_fault_refused":
        return f"fault refused: {f['why']}"
    if line.event == "uffd_lock_drop":
        return f"lock given back: {f['what']}"
    return describe(line)
