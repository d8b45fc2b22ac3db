# SPDX-License-Identifier: Apache-2.0
"""A process that copies one disk and keeps a count of its work in a file, to be killed by a test.

Arguments: source, target, format, journal, epoch, identity, counter file, stall timeout. The counter holds bytes read
and written, as two 64-bit numbers; it outlives the process.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from coriolis.dataplane import CopyOptions, DiskFormat, FileSink, ImageSource, Progress, copy_disk

COUNTS = struct.Struct("<QQ")


def main(arguments: list[str]) -> None:
    source, target, format, journal, epoch, identity, counter, stall = arguments
    fd = os.open(counter, os.O_RDWR | os.O_CREAT, 0o600)

    def count(progress: Progress) -> None:
        os.pwrite(fd, COUNTS.pack(progress.read, progress.written), 0)

    copy_disk(
        ImageSource(path=Path(source), identity=identity),
        FileSink(path=Path(target), format=DiskFormat(format)),
        journal=Path(journal),
        epoch=int(epoch),
        options=CopyOptions(progress_seconds=0, stall_seconds=float(stall)),
        progress=count,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
