# SPDX-License-Identifier: Apache-2.0
"""Where copy journals live: ``<state>/journals/<replica>/<instance>/<disk>~<volume>[~<era>].journal``, and when
they go.

The replica is the transfer whose disks they are, or the execution of a migration: a transfer's next execution goes on
with them. The volume is in the name, since what is known of one volume says nothing of another one, and so is the
replica's era, when something else than a copy may have written the volume.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

_LOG = logging.getLogger(__name__)
_LONGEST = 120  # a file name has 255 bytes at most, and the journal has companions with longer names


def root(state_path: Path) -> Path:
    return state_path / "journals"


def staging(state_path: Path) -> Path:
    """Where providers keep what a later attempt may go on with."""
    return state_path / "staging"


def instance_folder(state_path: Path, replica: str, instance: str) -> Path:
    return root(state_path) / _safe(replica) / _safe(instance)


def journal(state_path: Path, replica: str, instance: str, disk: str, volume: str, era: int = 0) -> Path:
    """``volume``: the platform's reference of it."""
    name = f"{_safe(disk)}~{_digest(volume)[:16]}{f'~{era}' if era else ''}.journal"
    return instance_folder(state_path, replica, instance) / name


def forget_instance(state_path: Path, replica: str, instance: str) -> None:
    """Its disks have arrived, or are gone; content when there is nothing."""
    folder = instance_folder(state_path, replica, instance)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        shutil.rmtree(folder.parent, ignore_errors=True)


def sweep(state_path: Path, older_than: float) -> list[str]:
    """Removes the folders of replicas in which nothing was written since ``older_than`` (seconds of the epoch)."""
    removed = []
    for folder in (*_folders(root(state_path)), *_folders(staging(state_path))):
        youngest = max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
        if youngest < older_than and not _in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
            _LOG.info("not used for long, removed folder=%s", folder.name)
    return removed


def _in_use(folder: Path) -> bool:
    """A copy holds one of its journals: then the clock has jumped, or the copy has waited for very long."""
    for lock in folder.rglob("*.lock"):
        with open(lock, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _folders(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (child for child in path.iterdir() if child.is_dir())


def _safe(name: str) -> str:
    """One path component for any name, and different ones for different names."""
    quoted = urllib.parse.quote(name, safe=" @+=,").replace(".", "%2E") or "%"
    if len(quoted) <= _LONGEST:
        return quoted
    return f"{quoted[:40]}~{_digest(name)[:40]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
