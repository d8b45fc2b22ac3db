# SPDX-License-Identifier: Apache-2.0
"""Runs an NBD server program on a private unix socket for as long as a `with` block lasts.

The program gets files as inherited descriptors (``/proc/self/fd/N``): what was inspected is what it opens,
and no path shows in its arguments. It is killed when the thread that started it ends, so start it from one
that stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from coriolis.dataplane.errors import ToolMissing

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_STEP = 0.005
_PARENT = "/tmp"  # TMPDIR may be too long for a socket
_PREFIX = "cdp-"
_HELD = "held"
_YOUNG_SECONDS = 5.0  # between making a folder's lock file and locking it


class ServerFailed(Exception):
    """The program did not come up; ``reason`` is the last line it wrote."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    uri: str
    pid: int
    folder: Path


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only we can enter, with a path short enough for a socket; removed with all in it.

    A killed process leaves its folder; whoever makes the next one removes those that nobody holds a lock in.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))  # mode 0700
    lock = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep() -> None:
    for held in Path(_PARENT).glob(f"{_PREFIX}*/{_HELD}"):
        with contextlib.suppress(OSError):  # somebody else's, held, or gone by now
            fd = os.open(held, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                old = time.time() - os.fstat(fd).st_mtime > _YOUNG_SECONDS
                if old and os.fstat(fd).st_uid == os.geteuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(held.parent, ignore_errors=True)
            finally:
                os.close(fd)


@contextlib.contextmanager
def serve(command: Sequence[str], folder: Path, *, fds: Sequence[int] = (), name: str = "") -> Iterator[Server]:
    """Runs ``command``, which must listen on ``folder/nbd`` and then write ``folder/pid``.

    Raises `ServerFailed` when it ends or is silent instead, `ToolMissing` when it is not installed. At the
    end it is asked to stop, which lets a writer flush, and killed if it does not.
    """
    socket, ready, log = folder / "nbd", folder / "pid", folder / "log"
    ready.unlink(missing_ok=True)
    socket.unlink(missing_ok=True)
    argv = ["setpriv", "--pdeathsig", "KILL", *command]
    for tool in (argv[0], command[0]):
        if shutil.which(tool) is None:
            raise ToolMissing(
                f"the program {tool} is not installed; on Debian: apt install {_PACKAGES.get(tool, tool)}"
            )
    with open(log, "wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=tuple(fds), cwd="/"
        )
    try:
        _await(process, ready, log)
        yield Server(uri=f"nbd+unix:///{name}?socket={socket}", pid=process.pid, folder=folder)
    finally:
        _stop(process)


_PACKAGES = {
    "qemu-storage-daemon": "qemu-system-common",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "setpriv": "util-linux",
}


def _await(process: subprocess.Popen[bytes], ready: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (ready.exists() and ready.stat().st_size):
        if process.poll() is not None:
            raise ServerFailed(_last_line(log) or f"it ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"it did not start within {_START_SECONDS:.0f} s")
        time.sleep(_STEP)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].split(": ", 1)[-1] if lines else ""


def run_tool(command: Sequence[str]) -> tuple[int, str]:
    """Runs a short program; its exit code and the last line of its complaints."""
    if shutil.which(command[0]) is None:
        raise ToolMissing(
            f"the program {command[0]} is not installed; on Debian: apt install {_PACKAGES.get(command[0], command[0])}"
        )
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=_environment())
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
