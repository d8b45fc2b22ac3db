# SPDX-License-Identifier: Apache-2.0
"""Disk files of the fake cloud, through QEMU's tools. QCOW2 keeps the dirty bitmaps that make exact increments."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coriolis.providers.api import Context, Unavailable

GRANULARITY = 4096  # bytes that one bit of a bitmap stands for
_START_SECONDS = 20.0
_POLL_SECONDS = 0.005


def _run(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise Unavailable(f"{command[0]} is not installed on this worker (Debian package qemu-utils).")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def create(path: Path, size: int) -> None:
    _run("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size))


def write(path: Path, format_: str, offset: int, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(prefix="cor-fake-") as file:
        file.write(data)
        file.flush()
        said = _run("qemu-io", "-f", format_, "-c", f"write -s {file.name} {offset} {len(data)}", str(path))
    if "wrote" not in said:  # qemu-io ends with 0 when a write fails
        raise Unavailable(f"The fake cloud could not write: {said.strip()[-500:]}")


def read(path: Path, format_: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cor-fake-") as folder:
        raw = Path(folder, "raw")
        _run("qemu-img", "convert", "-f", format_, "-O", "raw", str(path), str(raw))
        return raw.read_bytes()


def bitmaps(path: Path) -> list[str]:
    """Names of the dirty bitmaps of a QCOW2 file."""
    told: dict[str, Any] = json.loads(_run("qemu-img", "info", "--output=json", "-f", "qcow2", str(path)))
    return [found["name"] for found in told["format-specific"]["data"].get("bitmaps", [])]


def track(path: Path, bitmap: str) -> None:
    """From now on ``bitmap`` marks what is written; content when it does already."""
    if bitmap not in bitmaps(path):
        _run("qemu-img", "bitmap", "--add", "-g", str(GRANULARITY), "-f", "qcow2", str(path), bitmap)


def untrack(path: Path, bitmap: str) -> None:
    if path.exists() and bitmap in bitmaps(path):
        _run("qemu-img", "bitmap", "--remove", "-f", "qcow2", str(path), bitmap)


def copy(source: Path, target: Path) -> None:
    _run("cp", "--reflink=auto", "--sparse=always", str(source), str(target))


@contextlib.contextmanager
def serve(path: Path, bitmap: str, context: Context) -> Iterator[str]:
    """Yields the NBD URI of a QCOW2 file, read-only, with one of its bitmaps."""
    with tempfile.TemporaryDirectory(prefix="cor-fake-") as folder:
        socket, ready = Path(folder, "sock"), Path(folder, "pid")
        command = ["qemu-nbd", "-r", "-t", "-e", "16", "-f", "qcow2", "-B", bitmap]
        command += ["-k", str(socket), f"--pid-file={ready}", str(path)]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            limit = time.monotonic() + _START_SECONDS
            while not (ready.exists() and socket.exists()):
                context.check_cancelled()
                if server.poll() is not None or time.monotonic() > limit:
                    raise Unavailable("qemu-nbd did not start for a disk of the fake cloud.")
                time.sleep(_POLL_SECONDS)
            yield f"nbd+unix:///?socket={socket}"
        finally:
            server.kill()
            server.communicate()
