# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the console watcher with samples in the shape the kernel prints them."""

import unittest

from console import LINES_MAX, Watcher, user_tasks

BOOT = """\
[    0.000000] Linux version 7.3.4 (user@host) (clang) #1 SMP
[    0.100000] Command line: console=ttyS0 panic=-1 oops=panic
[    0.200000] x86/fpu: x87 FPU will use FXSR
[    0.300000] Warning: unrelated words such as debug: and BUGs do not count
[    0.400000] suite[71]: segfault at 0 ip 0000000000401000 sp 00007ffe00000000 error 4 in suite
[    0.500000] traps: suite[72] trap int3 ip:401000 sp:7ffe00000000 error:0
"""

# Tests make memory fail on purpose.
BROKEN_MEMORY = """\
[    4.031821] Injecting memory failure for pfn 0x4559 at process virtual address 0x7f921573b000
[    4.051691] Memory failure: 0x4559: Sending SIGBUS to suite:57 due to hardware memory corruption
[    4.052579] Memory failure: 0x4559: recovery action for dirty LRU page: Recovered
[    4.825274] Memory failure: 0x4c05: recovery action for huge page: Recovered
[    4.826000] Memory failure: 0x4c05: already hardware poisoned
"""

WARN = """\
[    5.000000] ------------[ cut here ]------------
[    5.000001] WARNING: mm/userfaultfd.c:100 at example+0x10/0x20, CPU#1: suite/80
[    5.000002] CPU: 1 UID: 0 PID: 80 Comm: suite Not tainted 7.3.4 #1
[    5.000003] Call Trace:
[    5.000004]  <TASK>
[    5.000005]  example+0x10/0x20
[    5.000006] ---[ end trace 0000000000000000 ]---
"""

KASAN = """\
[    6.000000] ==================================================================
[    6.000001] BUG: KASAN: slab-use-after-free in example+0x1/0x2
[    6.000002] Read of size 8 at addr ffff888000000000 by task suite/81
[    6.000003] Freed by task 82:
[    6.000004] ==================================================================
[    6.000005] Disabling lock debugging due to kernel taint
"""

PANIC = """\
[    7.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100
[    7.000001] CPU: 0 UID: 0 PID: 1 Comm: init Not tainted 7.3.4 #1
[    7.000002] Rebooting in 1 seconds..
"""

# One telling line per kind of report, each of which must be found on its own.
HEADLINES = {
    "panic": ["Kernel panic - not syncing: Oops"],
    "oops": ["Oops: 0000 [#1] SMP", "Oops: general protection fault, kernel NULL pointer",
             "BUG: kernel NULL pointer dereference, address: 0000000000000008",
             "BUG: unable to handle page fault for address: ffffc90000000000"],
    "rust panic": ["rust_kernel: panicked at mm/userfaultfd_rust/rust/lib.rs:1:2:"],
    "KASAN": ["BUG: KASAN: slab-out-of-bounds in f+0x1/0x2"],
    "KFENCE": ["BUG: KFENCE: use-after-free read in f+0x1/0x2"],
    "KCSAN": ["BUG: KCSAN: data-race in f / g"],
    "UBSAN": ["UBSAN: array-index-out-of-bounds in mm/userfaultfd.c:1:2"],
    "lockdep": ["WARNING: possible circular locking dependency detected",
                "WARNING: inconsistent lock state", "WARNING: possible recursive locking detected",
                "WARNING: possible irq lock inversion dependency detected",
                "WARNING: bad unlock balance detected!", "[ BUG: Invalid wait context ]",
                "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
                "WARNING: lock held when returning to user space!"],
    "RCU": ["WARNING: suspicious RCU usage",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... }"],
    "lockup": ["watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [suite:80]"],
    "hung task": ["INFO: task suite:80 blocked for more than 120 seconds."],
    "leak": ["unreferenced object 0xffff888000000000 (size 64):",
             "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"],
    "page table": ["BUG: Bad page state in process suite  pfn:01234",
                   "BUG: Bad rss-counter state mm:0000 type:MM_ANONPAGES val:1",
                   "BUG: Bad page map in process suite  pte:0 pmd:0"],
    "slab": ["BUG userfaultfd_ctx_cache (Not tainted): Poison overwritten",
             "BUG kmalloc-64 (Tainted: G    B): Redzone overwritten"],
    "list": ["list_del corruption. prev->next should be 0, but was 1"],
    "BUG": ["kernel BUG at mm/userfaultfd.c:123!",
            "BUG: sleeping function called from invalid context at mm/x.c:1",
            "BUG: scheduling while atomic: suite/80/0x00000002"],
    "WARNING": ["WARNING: CPU: 0 PID: 1 at mm/userfaultfd.c:1 f+0x1/0x2",
                "WARNING: mm/userfaultfd.c:1 at f+0x1/0x2, CPU#0: suite/80"],
}


TASKS = """\
[    7.628440] sysrq: Show State
[    7.628599] task:init            state:S stack:0     pid:1     tgid:1     ppid:0      task_flags:0x1
[    7.628600]  schedule+0x5b/0x90
[    7.630403] task:kthreadd        state:S stack:0     pid:2     tgid:2     ppid:0      task_flags:0x2
[    7.630404]  schedule+0x5b/0x90
[    7.640403] task:kswapd0         state:S stack:0     pid:33    tgid:33    ppid:2      task_flags:0x2
[    7.640404]  schedule+0x5b/0x90
[    7.749804] task:suite           state:D stack:0     pid:38    tgid:38    ppid:1      task_flags:0x3
[    7.749811] Call Trace:
[    7.749813]  <TASK>
[    7.749816]  handle_userfault+0x5b8/0x960
[    7.749817]  ? other+0x1/0x2
[    7.749878] RIP: 0033:0x7f71b950b503
[    7.749879]  </TASK>
[    7.750081] Sched Debug Version: v0.11, 7.3.4 #1
[    7.750082]  S           suite    38    1048576      2443.321203   E        2444.021203
"""


def watch(text, allow=()):
    watcher = Watcher(allow)
    watcher.feed(text.encode())
    watcher.finish()
    return watcher


class ConsoleTest(unittest.TestCase):
    def test_clean_boot(self):
        watcher = watch(BOOT)
        self.assertEqual(watcher.reports, [])
        self.assertFalse(watcher.panicked)

    def test_broken_memory_is_no_report(self):
        self.assertEqual(watch(BOOT + BROKEN_MEMORY).reports, [])

    def test_every_kind(self):
        for kind, lines in HEADLINES.items():
            for line in lines:
                for prefix in ("[    1.000000] ", "[    1.000000][   T80] ", "", "[ 1234.5][ C0] "):
                    with self.subTest(line=prefix + line):
                        reports = watch(f"{BOOT}{prefix}{line}\n").reports
                        self.assertEqual([report.kind for report in reports], [kind])

    def test_report_has_context_and_ends_at_its_trace(self):
        (report,) = watch(BOOT + WARN + "[    5.000007] later\n").reports
        self.assertEqual(report.kind, "WARNING")
        self.assertIn("cut here", report.text())
        self.assertIn("segfault", report.text())
        self.assertTrue(report.lines[-1].endswith("---[ end trace 0000000000000000 ]---"))

    def test_kasan_block(self):
        (report,) = watch(BOOT + KASAN).reports
        self.assertEqual(report.kind, "KASAN")
        self.assertIn("Freed by task 82", report.text())
        self.assertNotIn("Disabling lock debugging", report.text())

    def test_pieces_of_any_size(self):
        data = (BOOT + WARN + KASAN + PANIC).encode()
        for size in (1, 7, 4096):
            watcher = Watcher()
            for at in range(0, len(data), size):
                watcher.feed(data[at:at + size])
            watcher.finish()
            self.assertEqual([r.kind for r in watcher.reports], ["WARNING", "KASAN", "panic"])
            self.assertTrue(watcher.panicked)

    def test_unfinished_last_line_and_carriage_returns(self):
        watcher = watch(PANIC.splitlines()[0] + "\r")
        self.assertTrue(watcher.panicked)
        self.assertFalse(watcher.reports[0].lines[0].endswith("\r"))

    def test_gap_in_time_ends_a_report(self):
        (report,) = watch("[    1.0] UBSAN: shift in a.c\n[    1.1] detail\n[   60.0] other\n").reports
        self.assertEqual(len(report.lines), 2)

    def test_endless_report_is_cut(self):
        (report,) = watch("[    1.0] UBSAN: x\n" + "[    1.0] detail\n" * 1000).reports
        self.assertEqual(len(report.lines), LINES_MAX)
        self.assertIn("see the console's log", report.text())

    def test_allowed(self):
        watcher = watch(BOOT + KASAN, allow=["slab-use-after-free in example"])
        self.assertEqual(watcher.bad(), [])
        self.assertEqual(len(watcher.reports), 1)

    def test_allowing_one_report_does_not_hide_another(self):
        watcher = watch(BOOT + WARN + KASAN, allow=["WARNING: mm/userfaultfd"])
        self.assertEqual([report.kind for report in watcher.bad()], ["KASAN"])

    def test_allowing_a_headline_does_not_hide_one_in_the_same_block(self):
        text = "[    1.0] UBSAN: x\n[    1.0] BUG: KASAN: y\n"
        self.assertEqual(len(watch(text, allow=["UBSAN"]).bad()), 1)
        self.assertEqual(len(watch(text, allow=["UBSAN", "KASAN"]).bad()), 0)

    def test_tasks_of_programs(self):
        tasks = user_tasks(TASKS.splitlines())
        self.assertEqual(len(tasks), 3)
        self.assertTrue(tasks[0].startswith("task:suite "))
        self.assertEqual(tasks[1:], [" handle_userfault+0x5b8/0x960", " ? other+0x1/0x2"])
        self.assertEqual(watch(TASKS).reports, [])


if __name__ == "__main__":
    unittest.main()
