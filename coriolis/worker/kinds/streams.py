# SPDX-License-Identifier: Apache-2.0
"""What budgets may match of a task that moves disk bytes."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from coriolis.providers.api import Instance, Snapshot
from coriolis.rpc.messages import Stream
from coriolis.worker.job import Job

_HOST = "host"  # a snapshot's property: the hypervisor that reads for us
_LATELY_SECONDS = 2.0


class Meter:
    """Tells the conductor how fast a task moves bytes; from its making on, the task waits for its share."""

    def __init__(self, job: Job) -> None:
        self._job, self._stream = job, of(job)
        self._points: collections.deque[tuple[float, int]] = collections.deque([(time.monotonic(), 0)])
        job.stream(self._stream)

    def read(self, total: int) -> None:
        """So many bytes have been read so far."""
        now = time.monotonic()
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - _LATELY_SECONDS:
            self._points.popleft()
        since, before = self._points[0]
        if now > since:
            self._job.stream(dataclasses.replace(self._stream, rate=(total - before) / (now - since)))


def of(job: Job) -> Stream:
    """The stream of this task's disk, not moving yet."""
    source = _source_storage(job)
    snapshot = job.optional("snapshot", Snapshot)
    reads = job.assign.source is not None
    return Stream(
        source_storage=source if reads else None,
        destination_storage=destination_storage(job.assign.storage_mappings, job.item, source),
        source_host=snapshot.properties.get(_HOST) if reads and snapshot is not None else None,
    )


def destination_storage(mappings: Mapping[str, Any], disk_id: str, source: str | None) -> str | None:
    """Where the user wants this disk: by the disk, by its source's storage, or the default; None: not said."""
    for mapping in mappings.get("disk_mappings") or ():
        if str(mapping.get("disk_id")) == disk_id:
            return str(mapping["destination"])
    for mapping in mappings.get("backend_mappings") or ():
        if source is not None and mapping.get("source") == source:
            return str(mapping["destination"])
    return mappings.get("default")


def _source_storage(job: Job) -> str | None:
    vm = job.optional("vm", Instance)
    disks = vm.devices.disks if vm is not None else ()
    return next((disk.storage_backend_identifier for disk in disks if disk.id == job.item), None)
