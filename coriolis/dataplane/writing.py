# SPDX-License-Identifier: Apache-2.0
"""Opens what the engine writes to: a file that its threads write, or connections to an NBD export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from coriolis.dataplane import nbd
from coriolis.dataplane.export import open_sink
from coriolis.dataplane.image.qcow2_target import open_qcow2_target
from coriolis.dataplane.target import FileTarget, LocalTarget, sink_failed, too_small
from coriolis.dataplane.types import CopyOptions, DiskFormat, FileSink, Sink


@contextlib.contextmanager
def open_writer(sink: Sink, size: int, options: CopyOptions) -> Iterator[LocalTarget | list[nbd.Connection]]:
    """An existing sink with room for ``size`` bytes. Raises `SinkError`."""
    with contextlib.ExitStack() as stack:
        local = _local(sink, size)
        if local is not None:
            stack.callback(local.close)
            yield local
            return
        export = stack.enter_context(open_sink(sink))
        try:
            first = nbd.connect(export.uri, timeout=options.stall_seconds)
            several = options.connections if first.handle.can_multi_conn() else 1
            rest = [nbd.connect(export.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
        except nbd.Failed as error:
            raise sink_failed(error) from None
        if first.size < size:
            raise too_small(first.label, first.size, size)
        yield [first, *rest]


def _local(sink: Sink, size: int) -> LocalTarget | None:
    if not isinstance(sink, FileSink):
        return None
    if sink.format is DiskFormat.RAW:
        return FileTarget(sink.path, size)
    image = open_qcow2_target(sink.path)
    if image is not None and image.size < size:
        image.close()
        raise too_small(image.label, image.size, size)
    return image
