# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of a scenario: the trace, and what is made of it."""

import shutil

from study import trace
from study.model import build
from study.page import page
from study.text import summary

TRACE = "trace.txt"


def save_dump(folder, names, console):
    """Give the scenario in which the guest died the trace that the kernel printed.

    `folder` has a folder with a trace for each scenario that was over by then.
    """
    on = next((name for name in names if not (folder / name / TRACE).exists()), None)
    dump = trace.dumped(console.read_text(errors="replace")) if on and console.exists() else ""
    if dump:
        (folder / on).mkdir(exist_ok=True)
        (folder / on / TRACE).write_text(dump, encoding="utf-8")


def write(out, folder, about, origin, found):
    """Make what a scenario's folder of the guest holds into its folder in `out`, whole or not at all.

    `found`: the Played of its boot. Returns the Model and the summary.
    """
    name, source = folder.name, folder / TRACE
    raw = source.read_text(errors="replace") if source.exists() else ""
    model = build(trace.parse(raw))
    text = summary(f"{name} on {origin}: {about}", model)
    folder.mkdir(exist_ok=True)
    source.write_text(raw, encoding="utf-8")
    (folder / "summary.txt").write_text(text, encoding="utf-8")
    (folder / "index.html").write_text(
        page(name, about, origin, model, found.problems[name], found.reports), encoding="utf-8")
    shutil.rmtree(out / name, ignore_errors=True)
    folder.rename(out / name)
    return model, text
