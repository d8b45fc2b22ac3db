# SPDX-License-Identifier: Apache-2.0
"""Learns from the target what the journal does not know: its doubtful leaves are read back and digested.

So a copy whose journal was lost or damaged still writes only what differs: nothing is believed but what was read.
"""

from __future__ import annotations

from collections.abc import Iterator

from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.errors import Cancelled, DataplaneError
from coriolis.dataplane.extents import LeafRun
from coriolis.dataplane.types import CancelCheck, CopyOptions, Kind, Sink
from coriolis.dataplane.verify import Reading, read_disk


def read_back(sink: Sink, leaves: LeafTable, options: CopyOptions, cancelled: CancelCheck | None) -> int:
    """Puts the digests of what the target holds in place of doubts; gives the bytes read. A target that cannot be read
    leaves them in doubt, so that they are written anew.
    """
    try:
        return read_disk(sink, leaves.size, _Learn(leaves), options, None, cancelled).read
    except DataplaneError as error:
        if error.retryable or isinstance(error, Cancelled):
            raise
        return 0


class _Learn(Reading):
    def __init__(self, leaves: LeafTable) -> None:
        self._leaves = leaves

    def runs(self) -> Iterator[LeafRun]:
        for run in super().runs():
            if run.kind is Kind.DATA:
                if self._leaves.is_doubtful(run.index):
                    yield run
                continue
            for index, count in self._leaves.spans(run.index, run.count):
                if self._leaves.is_doubtful(index):
                    yield LeafRun(index, count, run.kind, run.parts)

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        if digest is None:
            self._leaves.put_zero(run.index, run.count, done=False)
        else:
            self._leaves.put(run.index, digest, done=False)
        return None
