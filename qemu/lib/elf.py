# SPDX-License-Identifier: GPL-2.0-only
"""Tells whether a file is a program that runs in a guest without any library."""

import os
import struct

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_ET_EXEC, _ET_DYN = 2, 3
_EM_X86_64 = 62
_PT_INTERP = 3


def why_not_static(path):
    """None for a static x86-64 program that may be executed, else the reason in a few words."""
    if not os.path.exists(path):
        return "no such file"
    if not os.path.isfile(path):
        return "not a regular file"
    if not os.access(path, os.X_OK):
        return "not executable"
    with open(path, "rb") as f:
        header = f.read(64)
        if len(header) < 64 or not header.startswith(_ELF64_LITTLE):
            return "not a 64-bit ELF program (a script needs --host-root)"
        kind, machine = struct.unpack_from("<HH", header, 16)
        if machine != _EM_X86_64:
            return "not an x86-64 program"
        if kind not in (_ET_EXEC, _ET_DYN):
            return "an ELF file, but not a program"
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        f.seek(table)
        segments = f.read(size * count)
    if size < 56 or len(segments) < size * count or count == 0:
        return "a damaged ELF file"
    for i in range(count):
        if struct.unpack_from("<I", segments, i * size)[0] == _PT_INTERP:
            return "dynamically linked (link it statically, or use --host-root)"
    return None
