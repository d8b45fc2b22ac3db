# SPDX-License-Identifier: Apache-2.0
"""Moves disk bytes: sources, sinks, copy, verify.

Everything that holds disk bytes is NBD-shaped: a size, extents, read, write, zero, flush. `copy_disk` moves
one disk and keeps a durable journal of what arrived, with a BLAKE3 digest per MiB; killed at any moment,
the same call goes on where the journal ends. The journal of a finished round is the base of the next one.
This package knows nothing of the rest of the project and raises only `DataplaneError` and its children.
"""

from __future__ import annotations

from coriolis.dataplane.changes import changed_blocks, rbd_diff
from coriolis.dataplane.convert import ConvertResult, convert_image
from coriolis.dataplane.copy import copy_disk
from coriolis.dataplane.errors import (
    Cancelled,
    DataplaneError,
    InvalidImage,
    JournalBusy,
    JournalError,
    Mismatch,
    NoSpace,
    SinkError,
    SourceChanged,
    SourceError,
    SourceShrank,
    StaleEpoch,
    Stalled,
    ToolMissing,
    UnsafeImage,
)
from coriolis.dataplane.estimate import Estimate, estimate_disk
from coriolis.dataplane.export import open_sink, open_source
from coriolis.dataplane.image import ImageInfo, inspect_image
from coriolis.dataplane.journal import Mirror, finished_digest
from coriolis.dataplane.types import (
    LEAF_SIZE,
    CopyOptions,
    CopyResult,
    DiskFormat,
    Extent,
    FileSink,
    ImageSource,
    Kind,
    LiveVolume,
    NbdSink,
    NbdSource,
    Progress,
    Sink,
    Source,
    VerifyResult,
)
from coriolis.dataplane.verify import digest_disk, verify_disk

__all__ = [
    "LEAF_SIZE",
    "Cancelled",
    "ConvertResult",
    "CopyOptions",
    "CopyResult",
    "DataplaneError",
    "DiskFormat",
    "Estimate",
    "Extent",
    "FileSink",
    "ImageInfo",
    "ImageSource",
    "InvalidImage",
    "JournalBusy",
    "JournalError",
    "Kind",
    "LiveVolume",
    "Mirror",
    "Mismatch",
    "NbdSink",
    "NbdSource",
    "NoSpace",
    "Progress",
    "Sink",
    "SinkError",
    "Source",
    "SourceChanged",
    "SourceError",
    "SourceShrank",
    "StaleEpoch",
    "Stalled",
    "ToolMissing",
    "UnsafeImage",
    "VerifyResult",
    "changed_blocks",
    "convert_image",
    "copy_disk",
    "digest_disk",
    "estimate_disk",
    "finished_digest",
    "inspect_image",
    "open_sink",
    "open_source",
    "rbd_diff",
    "verify_disk",
]
