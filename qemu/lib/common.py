# SPDX-License-Identifier: GPL-2.0-only
"""Paths, tools and the step runner that all commands under qemu/ share."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
CACHE = Path(os.environ.get("UFFD_CACHE") or Path.home() / ".cache" / "userfaultfd-rust")

KERNEL_SERIES = "7.3"
BINDGEN_VERSION = "0.72.1"
LLVM_VERSION = "22"
TAIL_LINES = 25


class Failure(Exception):
    """An error that is told to the user in one line, without a traceback."""


def die(message):
    """Raise the error that `main_guard` prints as one line."""
    raise Failure(message)


def main_guard(main):
    """Run `main` and turn the errors a user can cause into one line and an exit status."""
    try:
        sys.exit(main())
    except Failure as e:
        print(f"{Path(sys.argv[0]).name}: {e}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def need_space(folder, gib):
    """Fail early when the file system of `folder` has less than `gib` GiB left."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        die(f"{folder} has {free:.1f} GiB left, {gib} GiB are needed")


@dataclass(frozen=True)
class Toolchain:
    """The compilers of one build. LLVM of clang and of rustc must match for inlined helpers."""

    llvm_suffix: str
    rustc: str
    cargo: str
    rust_lib_src: str
    libclang: str
    bindgen: str

    def make_args(self):
        """Variables for every call of the kernel's make."""
        args = [
            f"LLVM={self.llvm_suffix or 1}",
            f"RUSTC={self.rustc}",
            f"BINDGEN={self.bindgen}",
            f"RUST_LIB_SRC={self.rust_lib_src}",
        ]
        for var, tool in (("RUSTFMT", "rustfmt"), ("CLIPPY_DRIVER", "clippy-driver")):
            path = Path(self.rustc).parent / tool
            if path.exists():
                args.append(f"{var}={path}")
        if shutil.which("ccache"):
            args.append(f"CC=ccache clang{self.llvm_suffix}")
        return args

    def env(self):
        """Environment for builds: the cache folder of ccache and the library bindgen loads."""
        env = dict(os.environ)
        env["LIBCLANG_PATH"] = self.libclang
        env["CCACHE_DIR"] = str(CACHE / "ccache")
        env["CCACHE_BASEDIR"] = str(BUILD)
        env["CCACHE_NOHASHDIR"] = "1"
        env["PATH"] = f"{Path(self.rustc).parent}:{env['PATH']}"
        for var in ("RUSTFLAGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARCH", "CROSS_COMPILE"):
            env.pop(var, None)
        return env


def bindgen_path():
    """Where `make setup` puts the bindgen that this project pins."""
    return CACHE / f"bindgen-{BINDGEN_VERSION}" / "bin" / "bindgen"


def _rustc_with_source():
    """A rustc whose library source is installed: the kernel builds `core` itself."""
    candidates = [os.environ.get("RUSTC"), "/usr/bin/rustc", shutil.which("rustc")]
    for rustc in filter(None, candidates):
        if not os.access(rustc, os.X_OK):
            continue
        root = subprocess.run(
            [rustc, "--print", "sysroot"], capture_output=True, text=True, check=False
        ).stdout.strip()
        source = Path(root) / "lib" / "rustlib" / "src" / "rust" / "library"
        if source.is_dir():
            return rustc, str(source)
    die("no rustc with library source found: run `make setup`, or set RUSTC=")
    return None


def toolchain():
    """Find the tools, or say which one is missing."""
    suffix = f"-{LLVM_VERSION}"
    if not shutil.which(f"clang{suffix}"):
        if not shutil.which("clang"):
            die(f"clang{suffix} is missing: run `make setup`")
        suffix = ""
    rustc, source = _rustc_with_source()
    bindgen = os.environ.get("BINDGEN") or str(bindgen_path())
    if not os.access(bindgen, os.X_OK):
        die(f"bindgen {BINDGEN_VERSION} is missing: run `make setup`")
    libclang = os.environ.get("LIBCLANG_PATH") or f"/usr/lib/llvm-{LLVM_VERSION}/lib"
    cargo = str(Path(rustc).parent / "cargo")
    if not os.access(cargo, os.X_OK):
        die(f"{cargo} is missing: run `make setup`")
    return Toolchain(suffix, rustc, cargo, source, libclang, bindgen)


def clock(seconds):
    """Elapsed time as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def commit():
    """The commit that is checked out, with a mark when files differ from it."""
    git = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT,
                         text=True, capture_output=True, check=False)
    return git.stdout.strip() or "unknown"


def write_whole(path, text):
    """Put `text` into a file, whole or not at all: a reader never sees a part of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        die(f"{path}: {e.strerror}")
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def last_lines(path, count=TAIL_LINES):
    """The last `count` lines of a log."""
    with open(path, "rb") as f:
        f.seek(0, os.SEEK_END)
        f.seek(max(0, f.tell() - 64 * 1024))
        return f.read().decode(errors="replace").splitlines()[-count:]


class Progress:
    """One moving line on a terminal, a line every half minute elsewhere."""

    def __init__(self, title, stream=None):
        self.title = title
        self.start = time.monotonic()
        self.shown = 0.0
        self.stream = stream or sys.stdout
        self.tty = self.stream.isatty()

    def elapsed(self):
        return time.monotonic() - self.start

    def update(self, detail):
        now = time.monotonic()
        if now - self.shown < (0.3 if self.tty else 30):
            return
        self.shown = now
        text = f"  {self.title}  {clock(self.elapsed())}  {detail}"
        if self.tty:
            width = shutil.get_terminal_size().columns
            print("\r\x1b[K" + text[: width - 1], end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)

    def done(self, detail="done"):
        end = "\r\x1b[K" if self.tty else ""
        print(f"{end}  {self.title}  {clock(self.elapsed())}  {detail}", file=self.stream,
              flush=True)


_OBJECT = re.compile(r"^  (CC|AS|RUSTC( L)?|AR|LD|HOSTCC|HOSTLD|GEN|EXPORTS|BINDGEN|OBJCOPY)\b")


def run_step(title, command, log, env=None, cwd=None, total=None, on_fail=None):
    """Run `command`, show movement, keep everything in build/logs/`log`.

    `total`: objects a fresh build makes, for "n of total". Returns the number of objects built.
    On failure prints the end of the log, calls `on_fail` and raises `Failure` with the log's path.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / log
    progress = Progress(title)
    built = 0
    with open(path, "w", encoding="utf-8", errors="replace") as out:
        out.write(f"$ {' '.join(map(str, command))}\n")
        out.flush()
        try:
            # A group of its own, so that an interrupt ends the compilers too.
            proc = subprocess.Popen(
                [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, env=env, cwd=cwd, text=True, errors="replace",
                start_new_session=True,
            )
        except OSError as e:
            die(f"{title}: cannot run {command[0]}: {e.strerror}")
        try:
            for line in proc.stdout:
                out.write(line)
                if _OBJECT.match(line):
                    built += 1
                    of = f" of about {total}" if total and built <= total else ""
                    progress.update(f"{built}{of} objects")
                else:
                    progress.update(line.strip()[:60])
            status = proc.wait()
        except BaseException:
            os.killpg(proc.pid, signal.SIGTERM)
            proc.wait()
            raise
    if status != 0:
        progress.done("FAILED")
        for line in last_lines(path):
            print(f"    {line}")
        if on_fail:
            on_fail()
        die(f"{title} failed (status {status}), full log: {path.relative_to(ROOT)}")
    progress.done(f"{built} objects" if built else "done")
    return built
