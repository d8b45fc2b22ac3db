# SPDX-License-Identifier: Apache-2.0
"""Finds and ends whole trees of processes, by /proc. Linux only.

A process that double-forks (``qemu-nbd --fork``) leaves its parent, its group and its session; what it cannot leave
is the nearest ancestor that called ``be_subreaper``, and the environment with which it was started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.01

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int, parent: int) -> None:
    """The kernel sends us ``number`` when the thread that forked us ends; ``parent`` is its pid."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def be_subreaper() -> None:
    """Orphans below us become our children, whatever they did to get away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children(root: int) -> list[int]:
    """The living processes directly below ``root``."""
    return [pid for pid in _pids() if (stat := _stat(pid)) is not None and stat[1] == root and stat[0] not in "ZX"]


def descendants(root: int) -> list[int]:
    """All living processes below ``root``, parents before children; zombies are left out."""
    below: dict[int, list[int]] = {}
    dead: set[int] = set()
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None:
            state, parent = stat
            below.setdefault(parent, []).append(pid)
            if state in "ZX":
                dead.add(pid)
    found: list[int] = []
    queue = list(below.get(root, ()))
    while queue:
        pid = queue.pop()
        queue += below.get(pid, ())
        if pid not in dead:
            found.append(pid)
    return found


def kill_descendants(root: int, *, within_seconds: float) -> bool:
    """KILL for everything below ``root``, again until nothing is left, since the dying may have forked meanwhile.

    Gives whether all of it is gone in time (a process in uninterruptible sleep may not be).
    """
    return _kill_all(lambda: descendants(root), within_seconds)


def marked(name: str, start: str) -> list[int]:
    """Living processes that were started with a value of the environment variable ``name`` that begins with ``start``,
    as far as we may look."""
    wanted = f"{name}={start}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if any(entry.startswith(wanted) for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                found.append(pid)
    return found


def kill_marked(name: str, start: str, *, within_seconds: float) -> bool:
    """KILL for all that carry the mark, but for ourselves. Gives whether all of it is gone in time."""
    return _kill_all(lambda: [pid for pid in marked(name, start) if pid != os.getpid()], within_seconds)


def is_gone(pid: int) -> bool:
    """No such process, or only its entry waiting to be collected."""
    stat = _stat(pid)
    return stat is None or stat[0] in "ZX"


def kill(pid: int, number: int) -> None:
    """Content when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_all(find: Callable[[], list[int]], within_seconds: float) -> bool:
    limit = time.monotonic() + within_seconds
    while left := find():
        for pid in left:
            kill(pid, signal.SIGKILL)
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent, see proc(5). The name may hold anything, so we look behind its last parenthesis."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
