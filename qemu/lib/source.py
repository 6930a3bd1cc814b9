# SPDX-License-Identifier: GPL-2.0-only
"""The kernel source: fetch it with its signature or checksum verified, unpack, patch."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from common import BUILD, CACHE, KERNEL_SERIES, ROOT, Progress, die, need_space

SUITES = ["trixie-backports", "forky", "sid", "experimental"]
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGE = f"linux-source-{KERNEL_SERIES}"
FALLBACK = "7.3.4"
KERNEL_ORG = "https://cdn.kernel.org/pub/linux/kernel/v7.x"
PATCHES = ROOT / "patches" / KERNEL_SERIES
# What the kernel build reads of this repository.
OVERLAY = ["Kbuild", "Kconfig", "rust", "include"]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_version(version, origin):
    """Refuse any tree that the patches were not made for."""
    if not re.fullmatch(rf"{re.escape(KERNEL_SERIES)}(\.\d+)?(-.*)?", version):
        die(f"{origin} is Linux {version}, this project needs {KERNEL_SERIES}.y")


def tree_version(makefile_text, origin):
    """VERSION.PATCHLEVEL.SUBLEVEL of a kernel's top Makefile."""
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", makefile_text, re.M))
    if len(found) != 3:
        die(f"{origin} is not a kernel tree (no version in its Makefile)")
    version = f"{found['VERSION']}.{found['PATCHLEVEL']}.{found['SUBLEVEL']}"
    check_version(version, origin)
    return version


def _debian_mirror():
    """The archive this machine already trusts and reaches."""
    out = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"],
        capture_output=True, text=True, check=False,
    ).stdout
    for line in out.splitlines():
        origin, _, site = line.partition(" ")
        if origin == "Debian" and "security" not in site:
            return site.rstrip("/")
    return None


def _from_debian(folder):
    """Download the newest 7.3.y source package with a private apt configuration.

    apt checks the archive's signature and the package's checksum; the machine's own sources stay as they are.
    """
    mirror = _debian_mirror() if shutil.which("apt-get") and KEYRING.exists() else None
    if not mirror:
        return None
    for suite in SUITES:
        work = folder / suite
        for sub in ("lists/partial", "cache/archives/partial"):
            (work / sub).mkdir(parents=True)
        (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        (work / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{work}/sources.list";\nDir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{work}/lists";\nDir::Cache "{work}/cache";\n'
            'APT::Get::List-Cleanup "0";\nAPT::Sandbox::User "root";\n'
        )
        env = dict(os.environ, APT_CONFIG=str(work / "apt.conf"), LC_ALL="C")
        for command in (["update"], ["download", PACKAGE]):
            if subprocess.run(["apt-get", "-q", *command], cwd=work, env=env, check=False,
                              capture_output=True).returncode:
                break
        debs = list(work.glob(f"{PACKAGE}_*.deb"))
        if not debs:
            continue
        version = debs[0].name.split("_")[1].split("-")[0]
        check_version(version, debs[0].name)
        subprocess.run(["dpkg-deb", "-x", debs[0], work / "x"], check=True)
        tarballs = list((work / "x").glob("usr/src/linux-source-*.tar.*"))
        if len(tarballs) != 1:
            die(f"{debs[0].name} holds no source tarball")
        return version, tarballs[0], "signature of the Debian archive"
    return None


def _from_kernel_org(folder):
    """The released tarball, compared with the published list of checksums."""
    name = f"linux-{FALLBACK}.tar.xz"
    target = folder / name
    try:
        with urllib.request.urlopen(f"{KERNEL_ORG}/sha256sums.asc", timeout=60) as r:
            sums = r.read().decode(errors="replace")
        with urllib.request.urlopen(f"{KERNEL_ORG}/{name}", timeout=60) as r:
            with open(target, "wb") as f:
                shutil.copyfileobj(r, f, 1 << 20)
    except (urllib.error.URLError, OSError) as e:
        die(f"cannot download {name}: {e}; give a tree or tarball with KERNEL_SRC=")
    wanted = re.search(rf"^([0-9a-f]{{64}})  {re.escape(name)}$", sums, re.M)
    if not wanted or wanted[1] != sha256(target):
        die(f"{name}: the checksum differs from the published one")
    return FALLBACK, target, "published checksum"


def _cached():
    """The tarball in the cache, once its recorded checksum was found right."""
    for note in sorted(CACHE.glob("linux-*.sha256"), reverse=True):
        tarball = CACHE / note.name.removesuffix(".sha256")
        version = tarball.name.removeprefix("linux-").split(".tar")[0]
        if not tarball.exists():
            continue
        if sha256(tarball) != note.read_text().strip():
            print(f"  {tarball.name} in the cache is damaged, fetching it again", flush=True)
            tarball.unlink()
            note.unlink()
            continue
        check_version(version, tarball.name)
        return version, tarball
    return None


def fetch():
    """Returns (version, tarball) of the pristine source in the cache."""
    cached = _cached()
    if cached:
        return cached
    need_space(CACHE, 1)
    progress = Progress(f"fetch Linux {KERNEL_SERIES}")
    progress.update("looking for the source package")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetch-") as folder:
        version, tarball, proof = _from_debian(Path(folder)) or _from_kernel_org(Path(folder))
        name = f"linux-{version}{''.join(tarball.suffixes[-2:])}"
        digest = sha256(tarball)
        shutil.move(tarball, CACHE / name)
        (CACHE / f"{name}.sha256").write_text(f"{digest}\n")
    progress.done(f"{version}, verified by {proof}")
    return version, CACHE / name


def _unpack(tarball, into):
    run = subprocess.run(
        ["tar", "-x", "--strip-components=1", "-C", into, "-f", tarball],
        capture_output=True, text=True, check=False,
    )
    if run.returncode:
        die(f"cannot unpack {tarball}: {(run.stderr.strip().splitlines() or ['tar failed'])[0]}")


def _pristine(into):
    """Put an unpatched tree into the empty folder `into`; returns its version."""
    given = os.environ.get("KERNEL_SRC")
    if not given:
        _, tarball = fetch()
        _unpack(tarball, into)
        origin = tarball.name
    else:
        origin = Path(given)
        if origin.is_dir():
            if not (origin / "Makefile").is_file():
                die(f"KERNEL_SRC={given} is not a kernel tree (no Makefile)")
            tree_version((origin / "Makefile").read_text(), given)
            if any((origin / name).exists() for name in (".config", "include/generated")):
                die(f"KERNEL_SRC={given} was built in: run `make mrproper` there first")
            subprocess.run(
                ["rsync", "-a", "--exclude=/.git", f"{origin}/", f"{into}/"], check=True)
        elif origin.is_file():
            _unpack(origin.resolve(), into)
        else:
            die(f"KERNEL_SRC={given} does not exist")
    if not (into / "Makefile").is_file():
        die(f"{origin} is not a kernel tree (no Makefile)")
    return tree_version((into / "Makefile").read_text(), str(origin))


def apply_patches(tree):
    """Apply patches/7.3 in order; a hunk that does not fit stops everything."""
    for patch in sorted(PATCHES.glob("*.patch")):
        run = subprocess.run(
            ["patch", "-p1", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", patch],
            cwd=tree, capture_output=True, text=True, check=False,
        )
        if run.returncode:
            hunk = next((s for s in run.stdout.splitlines() if "FAILED" in s), run.stderr.strip())
            die(f"{patch.name} does not apply: {hunk}")


def _identity():
    """What the prepared tree depends on: the source asked for and the patches."""
    digest = hashlib.sha256()
    given = os.environ.get("KERNEL_SRC")
    digest.update(str(Path(given).resolve()).encode() if given else b"fetched")
    for patch in sorted(PATCHES.glob("*.patch")):
        digest.update(patch.read_bytes())
    return digest.hexdigest()


def overlay(tree):
    """Lay this repository's kernel part at mm/userfaultfd_rust, touching only what changed."""
    target = tree / "mm" / "userfaultfd_rust"
    target.mkdir(exist_ok=True)
    subprocess.run(
        ["rsync", "-a", "--checksum", "--delete", "--exclude=/rust/pure/target",
         "--exclude=/rust/pure/tests", "--include=/*", *[ROOT / name for name in OVERLAY],
         f"{target}/"],
        check=True,
    )


def prepare():
    """Returns the patched tree, made anew when source or patches differ from last time."""
    tree = BUILD / "src" / "linux"
    stamp = tree / ".prepared"
    wanted = _identity()
    if not (stamp.exists() and stamp.read_text() == wanted):
        need_space(BUILD, 4)
        work = BUILD / "src" / "linux.new"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        progress = Progress("prepare the kernel tree")
        progress.update("unpacking and patching")
        try:
            version = _pristine(work)
            apply_patches(work)
            (work / ".prepared").write_text(wanted)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(tree, ignore_errors=True)
        work.rename(tree)
        progress.done(f"Linux {version}, {len(list(PATCHES.glob('*.patch')))} patches")
    overlay(tree)
    return tree
