# SPDX-License-Identifier: GPL-2.0-only
"""Parts of a document that a command writes. Each stands between two marks, and nobody edits it."""

from common import ROOT, die, write_whole


def _marks(name):
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def replace(text, name, part):
    """`text` with `part` between the marks of that name, ValueError where they are not."""
    begin, end = _marks(name)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no marks for '{name}'")
    return f"{head}{begin}{part.rstrip()}\n{end}{tail}"


def holds(text, name, part):
    """Whether `part` stands between the marks of that name."""
    begin, end = _marks(name)
    return f"{begin}{part.rstrip()}\n{end}" in text


def write(path, parts):
    """Put `parts`, {name: text}, into a file: all of them, or none."""
    try:
        text = path.read_text(encoding="utf-8")
        for name, part in parts.items():
            text = replace(text, name, part)
    except (OSError, ValueError) as e:
        die(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {e}")
    write_whole(path, text)
