# SPDX-License-Identifier: Apache-2.0
"""Reads disks back and compares or computes their digests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from coriolis.dataplane.errors import ToolMissing
from coriolis.dataplane.types import CancelCheck, CopyOptions, ProgressCallback, Sink, Source, VerifyResult


def verify_disk(
    target: Source | Sink,
    *,
    journal: Path,
    mode: Literal["full", "sample"] = "full",
    fraction: float = 0.05,
    seed: int = 0,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> VerifyResult:
    """Reads `target` and compares it with the leaf digests of a finished `journal`.

    `sample` reads `fraction` of the leaves, picked by `seed`. Raises `Mismatch` naming the extents that differ.
    The target may be larger than the journal's disk; what lies beyond is not read.
    """
    raise ToolMissing("the copy engine is not built")


def digest_disk(
    source: Source | Sink,
    *,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> VerifyResult:
    """Reads all of `source` and returns its digest, which equals `CopyResult.digest` for the same bytes."""
    raise ToolMissing("the copy engine is not built")
