# SPDX-License-Identifier: Apache-2.0
"""Where the lab keeps things: a folder outside the tree that survives between runs, and the locks in it.

``CORIOLIS_LAB`` names it, otherwise it is ``coriolis-lab`` in the cache folder of the user. Read when this module is
imported, because the tests hide the home directory afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
PASSWORD = "lab"
REGION = "RegionOne"


def _default() -> Path:
    if named := os.environ.get("CORIOLIS_LAB"):
        return Path(named).resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache).resolve() / "coriolis-lab"


LAB = _default()


@dataclasses.dataclass(frozen=True)
class Home:
    """The folders of one cloud: etc, log, run (process ids), var (data), db (data base)."""

    path: Path

    @property
    def etc(self) -> Path:
        return self.path / "etc"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def var(self) -> Path:
        return self.path / "var"

    @property
    def db(self) -> Path:
        return self.path / "db"

    @property
    def network(self) -> Path:
        """Where Neutron tells the network process about ports and subnets."""
        return self.var / "network"

    def make(self) -> None:
        for folder in (self.etc, self.log, self.run, self.var, self.network / "ports", self.network / "subnets"):
            folder.mkdir(parents=True, exist_ok=True)


def home(name: str) -> Home:
    return Home(LAB / "clouds" / name)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Alone, among all processes that use this lab, with what ``name`` stands for."""
    with _lock_file(name) as number:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def used(name: str) -> Iterator[None]:
    """While this lasts, the cloud is in use: ``unused`` is false."""
    with _lock_file(f"{name}.users") as number:
        fcntl.flock(number, fcntl.LOCK_SH)
        yield


def unused(name: str) -> bool:
    """Whether no process uses the cloud now."""
    with _lock_file(f"{name}.users") as number:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def _lock_file(name: str) -> Iterator[int]:
    folder = LAB / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    number = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield number
    finally:
        os.close(number)
