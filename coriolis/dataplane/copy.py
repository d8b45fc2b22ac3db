# SPDX-License-Identifier: Apache-2.0
"""Copies one disk."""

from __future__ import annotations

from pathlib import Path

from coriolis.dataplane.errors import ToolMissing
from coriolis.dataplane.types import CancelCheck, CopyOptions, CopyResult, ProgressCallback, Sink, Source


def copy_disk(
    source: Source,
    sink: Sink,
    *,
    journal: Path,
    epoch: int,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> CopyResult:
    """Makes `sink` hold the bytes of `source`; call it again, with the same journal, after any interruption.

    What it does depends on the journal. None, or an unfinished one of the same `source.identity`: copies what is
    missing. A finished one of the same identity: nothing. Another identity: an increment; by the source's bitmap
    when that is relative to the journal's last finished round, otherwise by comparing leaf digests. `epoch` is
    the fencing number: once the journal saw a higher one, this call raises `StaleEpoch`. `progress` and `cancelled`
    are called in this thread, at least twice a second while bytes move. Blocks; raises `DataplaneError`.
    """
    raise ToolMissing("the copy engine is not built")
