# SPDX-License-Identifier: Apache-2.0
"""The process above each child: a tiny init that sees to it that the child's whole tree is gone when the child is.

It is the subreaper of the attempt: whatever the provider's code starts, daemons included, ends up below it. It ends
when nothing is left below it, with the child's exit status. TERM goes on to the child. When the fork server
dies, it kills everything below it and ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from coriolis.worker import proctree

SERVER_DIED = signal.SIGUSR1
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, SERVER_DIED}
_PATIENCE_SECONDS = 5.0


def keep(child: Callable[[], int], server: int, close: Callable[[], None]) -> NoReturn:
    """Runs in a fresh fork of the fork server (pid ``server``), forks ``child`` and never comes back.

    ``close`` drops the child's descriptors in the keeper, so that their other ends see the child's death.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    proctree.be_subreaper()
    proctree.die_with_parent(SERVER_DIED, server)
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_child(child, keeper)
    close()
    os._exit(_watch(pid))


def _become_child(child: Callable[[], int], keeper: int) -> NoReturn:
    status = 70  # EX_SOFTWARE
    try:
        os.setpgid(0, 0)
        proctree.die_with_parent(signal.SIGKILL, keeper)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        status = child()
    finally:
        os._exit(status)


def _watch(child: int) -> int:
    while True:
        number = signal.sigwait(_WATCHED)
        if number == signal.SIGTERM:
            proctree.kill(child, signal.SIGTERM)
        elif number == SERVER_DIED:
            proctree.kill_descendants(os.getpid(), within_seconds=_PATIENCE_SECONDS)
            return 128 + signal.SIGKILL
        else:
            ended, left = _reap(child)
            if ended is not None:
                if left:
                    proctree.kill_descendants(os.getpid(), within_seconds=_PATIENCE_SECONDS)
                return ended


def _reap(child: int) -> tuple[int | None, bool]:
    """Collects the dead: (status of the child if it is among them, whether anything lives on)."""
    ended: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            ended = code if code >= 0 else 128 - code
