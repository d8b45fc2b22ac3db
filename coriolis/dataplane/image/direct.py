# SPDX-License-Identifier: Apache-2.0
"""Which images are read by this process itself, and by what; every other one is QEMU's."""

from __future__ import annotations

from coriolis.dataplane.image.inspect import Image
from coriolis.dataplane.inflate import stream_reader
from coriolis.dataplane.reader import RawReader, Reader
from coriolis.dataplane.types import DiskFormat


def direct_reader(image: Image) -> Reader | None:
    """A reader of an inspected image that is open, or None where QEMU has to read it."""
    main = image.files[0]
    if image.info.format is DiskFormat.RAW:
        return RawReader(main.fd, main.path.name, offset=main.offset, length=main.size)
    if image.info.format is DiskFormat.VMDK and len(image.all_files()) == 1 and image.descriptor is None:
        return stream_reader(main)
    return None
