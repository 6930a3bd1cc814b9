# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the cpio writer: our own reader for the layout, cpio(1) for a second opinion."""

import io
import os
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from cpio import TRAILER, Archive


def image(archive):
    out = io.BytesIO()
    archive.write(out)
    return out.getvalue()


def entries(data):
    """Parse a newc archive into (name, mode, device, content), checking alignment on the way."""
    found, at = [], 0
    while True:
        assert at % 4 == 0 and data[at:at + 6] == b"070701", f"no header at {at}"
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, length, check = fields
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = data[at + 110:at + 110 + length]
        assert name.endswith(b"\0")
        at += (110 + length + 3) & ~3
        content = data[at:at + size]
        at += (size + 3) & ~3
        if name[:-1].decode() == TRAILER:
            assert at == len(data)
            return found
        found.append((name[:-1].decode(), mode, (major, minor), content))


class CpioTest(unittest.TestCase):
    def sample(self):
        archive = Archive()
        archive.file("/bin/tool", b"12345", 0o755)
        archive.file("/a-b", b"")
        archive.symlink("/bin/link", "tool")
        archive.char_device("/dev/console", 5, 1)
        archive.folder("/tmp", 0o1777)
        return archive

    def test_layout(self):
        found = {name: rest for name, *rest in entries(image(self.sample()))}
        self.assertEqual(found["bin/tool"], [stat.S_IFREG | 0o755, (0, 0), b"12345"])
        self.assertEqual(found["bin/link"], [stat.S_IFLNK | 0o777, (0, 0), b"tool"])
        self.assertEqual(found["dev/console"], [stat.S_IFCHR | 0o600, (5, 1), b""])
        self.assertEqual(found["tmp"][0], stat.S_IFDIR | 0o1777)

    def test_parents_come_first(self):
        archive = Archive()
        archive.file("/a/b/c", b"x")
        archive.file("/a.b", b"y")
        names = [name for name, *_ in entries(image(archive))]
        self.assertEqual(names, ["a", "a/b", "a/b/c", "a.b"])

    def test_same_input_gives_same_bytes(self):
        backwards = Archive()
        backwards.folder("/tmp", 0o1777)
        backwards.char_device("/dev/console", 5, 1)
        backwards.symlink("/bin/link", "tool")
        backwards.file("/a-b", b"")
        backwards.file("/bin/tool", b"12345", 0o755)
        self.assertEqual(image(self.sample()), image(backwards))

    def test_host_folder_is_copied_without_times_and_owners(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, age in (("one", 1), ("two", 10**9)):
                top = Path(folder, name)
                (top / "sub").mkdir(parents=True)
                (top / "sub" / "f").write_bytes(b"data")
                (top / "l").symlink_to("sub/f")
                os.utime(top / "sub" / "f", (age, age))
            images = []
            for name in ("one", "two"):
                archive = Archive()
                archive.copy(Path(folder, name), "/x")
                images.append(image(archive))
        self.assertEqual(images[0], images[1])
        self.assertEqual([name for name, *_ in entries(images[0])], ["x", "x/l", "x/sub", "x/sub/f"])

    def test_bad_paths(self):
        for path in ("", "/", "/../etc", "/a/../b", "/a\0b"):
            with self.subTest(path=path), self.assertRaises(ValueError):
                Archive().file(path, b"")

    def test_file_and_folder_do_not_mix(self):
        archive = self.sample()
        with self.assertRaises(ValueError):
            archive.file("/bin", b"")
        with self.assertRaises(ValueError):
            archive.file("/a-b/below", b"")

    def test_replaced_file(self):
        archive = self.sample()
        archive.file("/bin/tool", b"new")
        self.assertIn(("bin/tool", stat.S_IFREG | 0o644, (0, 0), b"new"), entries(image(archive)))

    @unittest.skipUnless(shutil.which("cpio"), "cpio is not installed")
    def test_cpio_reads_it(self):
        listing = subprocess.run(["cpio", "-it", "--quiet"], input=image(self.sample()),
                                 capture_output=True, check=True).stdout.decode().split()
        self.assertEqual(listing, ["a-b", "bin", "bin/link", "bin/tool", "dev", "dev/console", "tmp"])


if __name__ == "__main__":
    unittest.main()
