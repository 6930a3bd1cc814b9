# SPDX-License-Identifier: GPL-2.0-only
"""Writes initramfs images: uncompressed cpio archives in the "newc" format.

The same entries always give the same bytes: times and owners are zero, inode numbers count up.
"""

import os
import stat
from pathlib import Path, PurePosixPath

TRAILER = "TRAILER!!!"
_MAX_SIZE = 0xFFFFFFFF


class Archive:
    """An archive in memory. Parent folders are added on their own, a repeated path is replaced."""

    def __init__(self):
        self._entries = {}

    def folder(self, path, mode=0o755):
        """Add a folder; adding it again changes its mode only."""
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path, data, mode=0o644):
        """Add a regular file with the given bytes."""
        self._add(path, stat.S_IFREG | mode, data)

    def symlink(self, path, target):
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def char_device(self, path, major, minor, mode=0o600):
        """Add a character device node."""
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def copy(self, host, path):
        """Add a file, a symbolic link or a whole folder of the host; only the mode's bits are kept."""
        host = Path(host)
        info = host.lstat()
        mode = stat.S_IMODE(info.st_mode) & 0o777
        if stat.S_ISLNK(info.st_mode):
            self.symlink(path, os.readlink(host))
        elif stat.S_ISDIR(info.st_mode):
            self.folder(path, mode)
            for name in sorted(os.listdir(host)):
                self.copy(host / name, f"{path}/{name}")
        elif stat.S_ISREG(info.st_mode):
            self.file(path, host.read_bytes(), mode)
        else:
            raise ValueError(f"{host} is neither a file nor a folder nor a link")

    def __contains__(self, path):
        return _name(path) in self._entries

    def write(self, out):
        """Write the archive to a binary file object."""
        inode = 0
        for name, (mode, data, device) in sorted(self._entries.items(), key=_parents_first):
            inode += 1
            out.write(_header(name, inode, mode, len(data), device))
            out.write(data)
            out.write(bytes(-len(data) % 4))
        out.write(_header(TRAILER, 0, 0, 0, (0, 0)))

    def _add(self, path, mode, data=b"", device=(0, 0)):
        name = _name(path)
        if len(data) > _MAX_SIZE:
            raise ValueError(f"{path} is too large for the archive format")
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                entry = self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
                if not stat.S_ISDIR(entry[0]):
                    raise ValueError(f"{path}: /{parent} is not a folder")
        old = self._entries.get(name)
        if old and stat.S_ISDIR(old[0]) != stat.S_ISDIR(mode):
            raise ValueError(f"{path} is there already, as something else")
        self._entries[name] = (mode, data, device)


def _name(path):
    """The archive's name of an absolute guest path."""
    parts = [part for part in str(path).split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in str(path):
        raise ValueError(f"{path!r} is no path of a file in the guest")
    return "/".join(parts)


def _parents_first(item):
    return item[0].split("/")


def _header(name, inode, mode, size, device):
    encoded = os.fsencode(name) + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, size, 0, 0, device[0], device[1], len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return header + bytes(-len(header) % 4)
