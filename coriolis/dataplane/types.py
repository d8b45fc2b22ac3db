# SPDX-License-Identifier: Apache-2.0
"""Values that cross the border of the data plane. All offsets and lengths are in bytes."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from coriolis.dataplane.pace import Pace

MIB = 1 << 20
LEAF_SIZE = MIB  #: bytes under one leaf digest; unit of copying, journalling and verifying


class Kind(enum.Enum):
    """What an extent holds, as far as the source can tell without reading it."""

    DATA = "data"
    ZERO = "zero"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """``length`` bytes from ``offset`` that are all of one kind."""

    offset: int
    length: int
    kind: Kind

    @property
    def end(self) -> int:
        return self.offset + self.length


class Channel(Protocol):
    """A way to read an export besides its connections."""

    def read(self, view: memoryview, offset: int, done: Callable[[int], None]) -> None:
        """Fills ``view`` with the bytes from ``offset``; then ``done`` is called in a thread, with an errno or 0."""

    def close(self) -> None:
        """May be called at any time; what was not read ends with an errno."""


class DiskFormat(enum.Enum):
    """Image formats by their QEMU driver name."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vpc"
    VHDX = "vhdx"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NbdSource:
    """An NBD export that somebody else runs.

    ``uri``: an NBD URI, e.g. ``nbd+unix:///sda?socket=/run/x/sock``. ``bitmap``: the name of a dirty bitmap
    (without the ``qemu:dirty-bitmap:`` prefix) that marks what changed since the snapshot
    ``base_identity``; ``changes``: the same as a list over the whole disk (see `changes`), where the platform
    has no bitmap; ``allocation``: what is DATA and what is ZERO, as a list over the whole disk, where the server
    does not tell. ``size``: what the caller believes the disk's size to be; a shorter export is
    refused. ``identity``: a token that changes whenever the bytes may have changed (a snapshot or
    checkpoint id). Without it a later call never trusts earlier bytes: it reads everything again and writes
    what differs. ``channel``: opens a shorter way to the same bytes than ``uri``; raises `DataplaneError`.
    """

    uri: str
    bitmap: str | None = None
    changes: tuple[Extent, ...] | None = dataclasses.field(default=None, repr=False)
    allocation: tuple[Extent, ...] | None = dataclasses.field(default=None, repr=False)
    base_identity: str | None = None
    size: int | None = None
    identity: str | None = None
    channel: Callable[[], Channel] | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSource:
    """A disk image file; it is inspected before QEMU sees it and is never written.

    ``format``: None to detect it by content. ``folder``: the folder that the image and everything it refers
    to must be in (default: the folder of ``path``). ``identity``: default is made from inode, size and
    change times. ``offset``, ``length``: the window of ``path`` that holds the image, as a member of an OVA
    (a tar) does; ``length`` None means to the end of the file. An image in a window refers to no other
    file. ``snapshot``: id or name of an internal snapshot of a QCOW2, to read in place of its present state.
    """

    path: Path
    format: DiskFormat | None = None
    folder: Path | None = None
    identity: str | None = None
    offset: int = 0
    length: int | None = None
    snapshot: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NbdSink:
    """A writable NBD export. ``zeroed``: it is new and reads as zeros, so zeros need not be written."""

    uri: str
    zeroed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSink:
    """A local file or block device.

    ``format``: RAW or QCOW2. ``size``: virtual size; None: as the source; larger than the source is
    allowed. ``create``: make the file when the journal is new (an old one of that name is replaced);
    otherwise it must exist. ``zeroed``: an existing target that reads as zeros; a created file always does.
    """

    path: Path
    format: DiskFormat = DiskFormat.RAW
    size: int | None = None
    create: bool = True
    zeroed: bool = False


Source = NbdSource | ImageSource
Sink = NbdSink | FileSink


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """How to copy. The defaults are what measured best on two cores over a local socket: more requests or
    connections only spread the work, also the server's, over more memory than the caches hold, and more
    threads wait for each other. A source far away wants more requests: bytes per second are at most
    ``requests`` MiB per round trip.

    ``requests``: leaves in flight at first. ``window``: leaves in flight at most, when a distant source turns out to
    need more; memory is a MiB for each. ``connections``: to the source (and to an NBD sink) when it allows
    several. ``threads``: that digest, and write to files. ``flush_bytes``/``flush_seconds``: the sink is
    flushed and the journal synced after so many bytes, or seconds. ``redo_limit``: never have more bytes
    than this beyond the last durable record: what a kill can cost. ``stall_seconds``: no byte moved for so
    long raises `Stalled`. ``lock_seconds``: how long to wait for another writer of the journal to go away.
    ``pace``: how fast to read, which may be changed meanwhile. ``live_only``: copy free space of file systems that are
    known and clean, and the contents of swap, as zeros.
    """

    requests: int = 6
    window: int = 64
    connections: int = 1
    threads: int = dataclasses.field(default_factory=lambda: max(1, min(4, (os.cpu_count() or 2) // 2)))
    flush_bytes: int = 16 * MIB
    flush_seconds: float = 2.0
    redo_limit: int = 56 * MIB
    stall_seconds: float = 120.0
    lock_seconds: float = 10.0
    progress_seconds: float = 0.5
    live_only: bool = False
    pace: Pace | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a copy or a verification.

    ``total``: size of the disk. ``done``: bytes of it that are settled, by whatever means; grows to
    ``total``. ``read``, ``written``: bytes moved by this call. ``skipped``: zero or unchanged bytes that
    were not read. ``resumed``: bytes settled by earlier calls. ``rate``: bytes of ``read`` per second over
    the last seconds.
    """

    total: int
    done: int
    read: int
    written: int
    skipped: int
    resumed: int
    rate: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveVolume:
    """A partition, or logical volume, as `CopyOptions.live_only` saw it. ``kind``: "ext4", "xfs", "ntfs", "swap",
    "lvm", or empty. ``free``: bytes in it that need not be copied; when that is none, ``reason`` may say why.
    """

    offset: int
    size: int
    kind: str
    free: int
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyResult:
    """What one finished `copy_disk` did. ``digest``: hex root of the whole disk (see `digest`).

    ``mode``: "full" (everything wanted), "dirty" (by bitmap), "compare" (everything read, only what differs
    from the last round written) or "done" (the journal says that this identity was copied before).
    ``bytes_saved``: data that ``live_only`` spared, in the free space of ``volumes``. ``bytes_left_out``: data for
    which the target holds zeros therefore, also since earlier rounds; what two of them by bitmap left out counts twice.
    """

    size: int
    mode: Literal["full", "dirty", "compare", "done"]
    bytes_read: int
    bytes_written: int
    bytes_skipped: int
    bytes_resumed: int
    digest: str
    seconds: float
    round: int
    bytes_saved: int = 0
    bytes_left_out: int = 0
    volumes: tuple[LiveVolume, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What one `verify_disk` that found no difference did. ``digest``: root recomputed from what was read;
    None for a sample.
    """

    mode: Literal["full", "sample"]
    size: int
    leaves: int
    leaves_checked: int
    bytes_read: int
    digest: str | None
    seconds: float


ProgressCallback = Callable[[Progress], None]
CancelCheck = Callable[[], bool]
