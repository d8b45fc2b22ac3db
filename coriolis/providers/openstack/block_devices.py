# SPDX-License-Identifier: Apache-2.0
"""Block devices of this machine by their serial numbers, as Linux shows them in ``/sys``. No udev is asked."""

from __future__ import annotations

from pathlib import Path

_BLOCK = Path("/sys/class/block")
_DEVICES = Path("/dev")
#: virtio-blk tells so many letters of a serial number (VIRTIO_BLK_ID_BYTES of the virtio specification, 5.2.6).
_VIRTIO_LETTERS = 20
_VIRTIO = "serial"
#: SCSI and SATA: the page "Unit Serial Number" (SPC-4, 7.8.15), of which the first four bytes are its header.
_SCSI, _HEADER = "device/vpd_pg80", 4


def device_of(volume_id: str, *, block: Path = _BLOCK) -> Path | None:
    """The disk that a hypervisor shows for a volume of Cinder, whose id is its serial number; None: there is none."""
    names = {volume_id, volume_id[:_VIRTIO_LETTERS]}
    return next((_DEVICES / disk.name for disk in sorted(block.iterdir()) if _serial(disk) in names), None)


def _serial(disk: Path) -> str:
    found = _read(disk / _VIRTIO) or _read(disk / _SCSI)[_HEADER:]
    return found.decode(errors="replace").strip(" \n\0")


def _read(path: Path) -> bytes:
    """Nothing when the kernel has no such number, or the disk goes away just now."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
