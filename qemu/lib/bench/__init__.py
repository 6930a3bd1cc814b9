# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark's host side: guests are measured, and what came out is kept, shown and judged.

samples    what uffd-cost says: its rows and their samples
choose     which rows a run has
measure    boots guests and collects samples
results    everything that was measured in one run, as a file
table      the figures as text
plots      the figures that grow, as pictures
compare    two files of results
limits     what the figures must keep, and the targets they miss
document   the parts of the documentation that are written from results
"""
