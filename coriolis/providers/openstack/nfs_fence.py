# SPDX-License-Identifier: Apache-2.0
"""One writer for a volume's file: a newer attempt locks an older one out.

Three things together. The *epoch* of the last writer is in the volume's metadata (`volume_epochs`): an older attempt is
refused. A *lock* is on the file itself, and NFS carries it to other hosts: no two of us write at
once, and we do not while QEMU's own lock says that a server runs on the volume. And a process of ours on this host that
holds the lock for an older attempt, be it stopped or stuck, is *killed*; one on another host is waited for: its worker
ends it when its lease runs out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from coriolis.dataplane.image.filelock import holds_among_us, lock_among_us
from coriolis.providers.api import Context, Gone, Unauthorized, Unavailable
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.volume_epochs import check_newest, note_writer

_PATIENCE = 30.0
_STEP = 0.25


@contextlib.contextmanager
def only_writer(cloud: Cloud, volume_id: str, path: Path, context: Context) -> Iterator[None]:
    """Within the block, this attempt is the only one that writes the file.

    :raises Conflict: a newer attempt has written it, or a server or another program has it open
    :raises Unavailable: an older attempt on another host does not let go yet
    """
    check_newest(cloud, volume_id, context)
    fd = _open(path)
    try:
        _take_lock(fd, volume_id, path, context)
        check_newest(cloud, volume_id, context)  # with the lock, nobody passes us
        note_writer(cloud, volume_id, context)
        yield
    finally:
        os.close(fd)


def holders(path: Path) -> list[int]:
    """Processes of this user that hold our lock on the file; never this one."""
    wanted, user, found = os.stat(path), os.getuid(), []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
            if pid != os.getpid() and os.stat(f"/proc/{pid}").st_uid == user and _holds(pid, wanted):
                found.append(pid)
    return found


def _holds(pid: int, wanted: os.stat_result) -> bool:
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/{pid}/fd/{name}")
            same = (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino)
            if same and holds_among_us(Path(f"/proc/{pid}/fdinfo/{name}").read_text()):
                return True
    return False


def _take_lock(fd: int, volume_id: str, path: Path, context: Context) -> None:
    end = time.monotonic() + _PATIENCE
    while not lock_among_us(fd):
        older = holders(path)
        for pid in older:
            context.event("WARNING", f"an older attempt still has volume {volume_id} open: process {pid} is ended")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not older and time.monotonic() > end:
            raise Unavailable(
                f"volume {volume_id}: another program has {path} open: an older attempt on another worker, which ends "
                "when its lease runs out, or a server that the volume is attached to"
            )
        context.check_cancelled()
        time.sleep(_STEP)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise Gone(f"there is no file {path} (any more)") from None
    except OSError as error:
        raise Unauthorized(f"the worker may not write {path}: {error.strerror}") from None
