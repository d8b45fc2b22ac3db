# SPDX-License-Identifier: Apache-2.0
"""A machine with disks: run a command there, reach a unix socket there.

Every process that is started here ends when its standard input does, so nothing outlives this process, however it
ends. They are in sessions of their own, so that killing this process's group leaves them the moment to clean up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from coriolis.providers.api.context import Context
from coriolis.providers.api.errors import Unavailable

COMMAND_SECONDS = 60.0
_POLL_SECONDS = 0.2
LONGEST_FOLDER = 70  # a unix socket's path has 107 bytes at most; ssh appends 17 to its own


class Host(Protocol):
    """Paths are the host's own."""

    def command(self, argv: list[str]) -> list[str]:
        """What to run here so that ``argv`` runs there."""
        ...

    def reach(self, socket: str) -> AbstractContextManager[str]:
        """A local path that leads to the unix socket ``socket`` there."""
        ...

    def close(self) -> None: ...


class LocalHost:
    def command(self, argv: list[str]) -> list[str]:
        return argv

    @contextlib.contextmanager
    def reach(self, socket: str) -> Iterator[str]:
        yield socket

    def close(self) -> None:
        return None


def run(host: Host, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs ``argv`` on the host to its end, whatever its exit status. :raises Unavailable: it hangs, or is not there"""
    try:
        return subprocess.run(
            host.command(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{argv[0]} did not end within {COMMAND_SECONDS:.0f} s") from None
    except FileNotFoundError:
        raise Unavailable(f"{argv[0]} is not installed on the worker") from None


def first_line(process: subprocess.Popen[bytes], seconds: float, context: Context) -> bytes:
    """The first line of a process's standard output; empty when it ended or took too long.

    :raises Cancelled: the process is still there
    """
    assert process.stdout is not None
    end = time.monotonic() + seconds
    line = b""
    descriptor = process.stdout.fileno()
    while not line.endswith(b"\n"):
        context.check_cancelled()
        if time.monotonic() > end:
            return b""
        if not select.select([descriptor], [], [], _POLL_SECONDS)[0]:
            continue
        byte = os.read(descriptor, 1)
        if not byte:
            return b""
        line += byte
    return line


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """Closes the process's input and waits until it is gone; kills it when that takes too long."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def socket_folder(scratch: Path) -> Path:
    """A new private folder whose name is short enough for unix sockets: in ``scratch`` when that is short."""
    if len(os.fsencode(scratch)) + 10 <= LONGEST_FOLDER:
        return Path(tempfile.mkdtemp(prefix="s", dir=scratch))
    return Path(tempfile.mkdtemp(prefix="cor-"))
