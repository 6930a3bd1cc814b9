# SPDX-License-Identifier: GPL-2.0-only
"""What `qemu/study` makes of a trace: lines, a model of what happened, a summary, and a page."""
