# SPDX-License-Identifier: GPL-2.0-only
"""Traces for tests, in the kernel's format."""

HEADER = """\
# tracer: nop
#
# entries-in-buffer/entries-written: {kept}/{written}   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
ADDRESS = 0x7fb88a5c5000


def line(who, pid, micros, event, rest, flags="....."):
    """One line; `who` is the thread's name."""
    seconds = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
    return f"{who:>16}-{pid:<7} [{pid % 2:03d}] {flags} {seconds:>12}: {event}: {rest}\n"


def trace(*lines, lost=0):
    """A file of these lines."""
    return HEADER.format(kept=len(lines), written=len(lines) + lost) + "".join(lines)


def root(micros=1_000_000):
    """The scenario's first thread gets its name."""
    return line("manager", 46, micros, "task_rename",
                "pid=46 oldcomm=exe newcomm=manager oom_score_adj=0")


def thread(name, pid, micros):
    """The first thread starts another, which takes a name."""
    yield line("manager", 46, micros, "task_newtask",
               f"pid={pid} comm=manager clone_flags=3d0f00 oom_score_adj=0")
    yield line(name, pid, micros + 1, "task_rename",
               f"pid={pid} oldcomm=manager newcomm={name} oom_score_adj=0")


def switch(micros, before, after, state="S"):
    """One processor goes from a thread to another."""
    return line("x", before, micros, "sched_switch",
                f"prev_comm=x y prev_pid={before} prev_prio=120 prev_state={state} ==> "
                f"next_comm=swapper/0 next_pid={after} next_prio=120", "d..2.")


def fault(number, pid, start, address=ADDRESS, name="faulter"):
    """A fault from its queueing to its end: steps of 10, 100 and 5 microseconds."""
    where = f"ctx=1 fault={number} address={address:#x}"
    yield line(name, pid, start, "uffd_fault_queue", f"{where} flags=0x1 reason=missing", "...1.")
    yield line(name, pid, start + 2, "uffd_lock_drop", f"ctx=1 what=vma address={address:#x}")
    yield line("manager", 46, start + 10, "uffd_fault_read", where)
    yield line("manager", 46, start + 109, "uffd_resolve",
               f"ctx=1 kind=copy start={address:#x} len=0x1000 mode=0x0 ret=4096")
    yield line("manager", 46, start + 110, "uffd_fault_wake", where)
    yield line("manager", 46, start + 111, "uffd_wake",
               f"ctx=1 start={address:#x} len=0x1000 woken=1")
    yield line(name, pid, start + 115, "uffd_fault_done", f"{where} how=woken")


def begin(micros=1_000_100):
    """A context is made, and memory registered."""
    yield line("manager", 46, micros, "uffd_ctx_create", "ctx=1 flags=0x80800")
    yield line("manager", 46, micros + 1, "uffd_register",
               f"ctx=1 start={ADDRESS:#x} len=0x1000 modes=0x1 ret=0")


def end(micros=1_900_000):
    """The context goes."""
    yield line("manager", 46, micros, "uffd_ctx_release", "ctx=1")
    yield line("manager", 46, micros + 1, "uffd_wake", "ctx=1 start=0x0 len=0xffffffffffffffff woken=0")
    yield line("manager", 46, micros + 2, "uffd_ctx_free", "ctx=1")


def single():
    """One fault, as it should be."""
    return trace(root(), *begin(), *thread("faulter", 48, 1_000_200),
                 line("manager", 46, 1_000_250, "tracing_mark_write", "study: it begins & goes on"),
                 *fault(1, 48, 1_000_300), *end())


def crowd(count):
    """So many threads with a fault each."""
    threads = (thread(f"sleeper-{n}", 100 + n, 1_000_200 + n) for n in range(1, count + 1))
    faults = (fault(n, 100 + n, 1_100_000 + 200 * n, ADDRESS + 4096 * n, f"sleeper-{n}")
              for n in range(1, count + 1))
    return trace(root(), *begin(), *(one for lines in threads for one in lines),
                 *(one for lines in faults for one in lines), *end())
