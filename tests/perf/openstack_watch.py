# SPDX-License-Identifier: Apache-2.0
"""What is seen of two clouds while a machine moves from one to the other: files of images and volumes, the source's
service, the guest at the destination. All look twice a second."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openstack

from tests.integration.openstack_site import Member

PACE = 0.5  # seconds between two looks
PATIENCE = 3600.0  # seconds for a run on a machine that does much else
_FOLDERS = ("cinder/*/volume-*", "glance/*/*")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def until(true: Callable[[], bool], what: str) -> None:
    """:raises TimeoutError: it did not become true"""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen that {what}")
        time.sleep(PACE)


@contextlib.contextmanager
def watching(member: Member, look: Callable[[Any], None]) -> Iterator[None]:
    """While this lasts, ``look`` is called again and again, with a connection of its own."""
    over = threading.Event()

    def go() -> None:
        with openstack.connect(**member.info, load_yaml_config=False, load_envvars=False) as sdk:
            look(sdk)
            while not over.wait(PACE):
                look(sdk)
            look(sdk)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(go)
        try:
            yield
        finally:
            over.set()
        done.result()


class Files:
    """Those of the member's images and volumes that come to be from now on, each at its largest."""

    def __init__(self, member: Member) -> None:
        self._home = member.cloud.cloud.home.var
        self._before = set(self._all())
        self._largest: dict[Path, int] = {}
        self._ours: dict[str, bool] = {}

    @property
    def bytes(self) -> int:
        return sum(self._largest.values())

    def look(self, sdk: Any) -> None:
        for path in self._all():
            if path not in self._before and self._is_ours(sdk, path):
                with contextlib.suppress(FileNotFoundError):
                    size = path.stat().st_blocks * 512
                    self._largest[path] = max(size, self._largest.get(path, 0))

    def _all(self) -> Iterator[Path]:
        for pattern in _FOLDERS:
            yield from self._home.glob(pattern)

    def _is_ours(self, sdk: Any, path: Path) -> bool:
        """Others use the cloud, too."""
        found = _ID.search(path.name)
        if found is None:
            return False
        ident = found[0]
        if ident not in self._ours:
            with contextlib.suppress(openstack.exceptions.NotFoundException):
                if path.name.startswith("volume-"):
                    self._ours[ident] = bool(sdk.block_storage.get_volume(ident))
                else:
                    self._ours[ident] = sdk.image.get_image(ident).owner == sdk.current_project_id
        return self._ours.setdefault(ident, False)


class Service:
    """Since when a server gives none; None while it does, or when there is no such server."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.ended_at: float | None = None

    def look(self, sdk: Any) -> None:
        if self.ended_at is None:
            for server in sdk.compute.servers(name=f"^{self._name}$"):
                if server.status != "ACTIVE" or server.task_state == "powering-off":
                    self.ended_at = time.monotonic()


class Guest:
    """A server as it comes up. ``active_at``: when it was active. ``words``: what its guest shall say, besides that it
    is ready."""

    def __init__(self, member: Member, name: str, words: Sequence[str]) -> None:
        self._member, self._name = member, name
        self._words = [*words, "ready"]
        self.active_at = 0.0

    def ready(self) -> bool:
        compute = self._member.sdk.compute
        server = next(compute.servers(name=f"^{self._name}$"), None)
        if server is None or server.status != "ACTIVE":
            if server is not None and server.status == "ERROR":
                raise RuntimeError(f"server {self._name} is in error: this measures nothing")
            return False
        self.active_at = self.active_at or time.monotonic()
        said = str(compute.get_server_console_output(server)["output"] or "")
        if "data WRONG" in said:
            raise RuntimeError(f"the guest of {self._name} misses data: this measures nothing")
        return all(f"coriolis-guest: {word}" in said for word in self._words)
