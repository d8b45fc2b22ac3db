# SPDX-License-Identifier: Apache-2.0
"""Which engine moves a disk: a pure rule, so that it can be read, tested and documented.

- ``libnbd``: our engine. It digests in flight, keeps a journal, resumes, verifies, obeys budgets. It reads and writes
  raw files, plain QCOW2 files and stream-optimized VMDKs itself and everything else through NBD.
- ``qemu-img``: one local conversion into a format that only QEMU writes. No resume: what is cut off starts again. The
  digest is of the source, read a second time while the conversion runs.
- ``kernel``: ``copy_file_range`` from raw to raw. Neither digest nor resume; no byte enters user space.

``-W -m 16`` (out-of-order writes, 16 in flight) of qemu-img halves the time into a fixed VHD and changes nothing much
elsewhere, but from a compressed source it doubles the time, since QEMU inflates in one thread and in order of request.
"""

from __future__ import annotations

import dataclasses
import enum

from coriolis.dataplane.types import DiskFormat


class EngineName(enum.Enum):
    LIBNBD = "libnbd"
    QEMU_IMG = "qemu-img"
    KERNEL = "kernel"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """``flags``: of ``qemu-img convert``."""

    engine: EngineName
    why: str
    flags: tuple[str, ...] = ()


_OURS = (DiskFormat.RAW, DiskFormat.QCOW2)
_PARALLEL = ("-W", "-m", "16")


def choose(
    source: DiskFormat | None,
    target: DiskFormat | None,
    *,
    local: bool,
    compressed: bool = False,
    digest: bool = True,
    resume: bool = True,
) -> Choice:
    """``source``, ``target``: None for an NBD export. ``local``: both are files of this host. ``compressed``: the
    source keeps its data compressed, as a stream-optimized VMDK does. ``digest``, ``resume``: what is wanted.
    """
    if not local or source is None or target is None:
        return Choice(engine=EngineName.LIBNBD, why="an export, or another host, is spoken to in NBD")
    if target not in _OURS:
        flags = () if compressed else _PARALLEL
        return Choice(engine=EngineName.QEMU_IMG, why=f"only QEMU writes {target.value}", flags=flags)
    if source is DiskFormat.RAW and target is DiskFormat.RAW and not digest and not resume:
        return Choice(engine=EngineName.KERNEL, why="nobody needs to see the bytes")
    return Choice(engine=EngineName.LIBNBD, why="digests and resumes, and is not slower")
