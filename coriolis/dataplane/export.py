# SPDX-License-Identifier: Apache-2.0
"""Makes every source and sink an NBD export, by running QEMU's storage daemon where somebody else does not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from coriolis.dataplane.errors import InvalidImage, SinkError, SourceChanged, SourceError, SourceShrank
from coriolis.dataplane.image import Image, open_image
from coriolis.dataplane.image.direct import direct_reader
from coriolis.dataplane.image.qcow2_target import create_qcow2
from coriolis.dataplane.reader import Reader
from coriolis.dataplane.server import Server, ServerFailed, private_folder, run_tool, serve
from coriolis.dataplane.target import sink_error
from coriolis.dataplane.types import DiskFormat, FileSink, NbdSink, NbdSource, Sink, Source

_EXPORT = "disk"
_CLIENTS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """A source while it is open: an NBD export, or a reader in this process. ``check`` raises when the bytes under
    it are not what they were when it was opened.
    """

    identity: str | None
    check: Callable[[], None]
    source: NbdSource | None = None
    reader: Reader | None = None


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[NbdSource]:
    """Yields ``source`` as an NBD export. An image is inspected first and gets a server that lives as long
    as the block.

    The server dies with the thread that entered the block. Raises `InvalidImage`, `UnsafeImage` or
    `SourceError`.
    """
    with opened(source, direct=False) as result:
        assert result.source is not None
        yield result.source


@contextlib.contextmanager
def opened(source: Source, *, direct: bool = True) -> Iterator[Opened]:
    """As `open_source`, with the means to see that the source changes under our hands. ``direct``: read without a
    server what this process can read itself.
    """
    if isinstance(source, NbdSource):
        yield Opened(source=source, identity=source.identity, check=lambda: None)
        return
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(
            open_image(
                source.path,
                format=source.format,
                folder=source.folder,
                offset=source.offset,
                length=source.length,
                snapshot=source.snapshot,
            )
        )
        before = image.state()
        identity = source.identity or f"files:{before}:{source.offset}:{image.snapshot}"
        check = partial(_unchanged, image, before)
        reader = direct_reader(image) if direct else None
        if reader is not None:
            yield Opened(reader=reader, identity=identity, check=check)
            return
        folder = stack.enter_context(private_folder())
        with _image_server(image, folder) as server:
            export = NbdSource(uri=server.uri, size=_least_size(image), identity=identity)
            yield Opened(source=export, identity=identity, check=check)


@contextlib.contextmanager
def _image_server(image: Image, folder: Path) -> Iterator[Server]:
    node, fds = image.node(folder), [file.fd for file in image.all_files()]
    if image.snapshot is None:
        with _daemon(node, folder, fds=fds, writable=False) as server:
            yield server
        return
    # The storage daemon shows the present state only; qemu-nbd loads a snapshot.
    command = ["qemu-nbd", "--persistent", "--read-only", f"--shared={_CLIENTS}", f"--export-name={_EXPORT}"]
    command += [f"--socket={folder / 'nbd'}", f"--pid-file={folder / 'pid'}"]
    command += [f"--load-snapshot=snapshot.id={image.snapshot}", f"json:{json.dumps(node)}"]
    try:
        with serve(command, folder, fds=fds, name=_EXPORT) as server:
            yield server
    except ServerFailed as error:
        raise _source_refused(error.reason) from None


@contextlib.contextmanager
def open_sink(sink: Sink) -> Iterator[NbdSink]:
    """Yields an existing ``sink`` as a writable NBD export; at the end of the block its server has flushed
    and ended.
    """
    if isinstance(sink, NbdSink):
        yield sink
        return
    try:
        fd = os.open(sink.path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise sink_error(str(sink.path), error.errno or 0, str(error.strerror)) from None
    try:
        with private_folder() as folder:
            node = _file_node(fd, sink.format, writable=True)
            with _daemon(node, folder, fds=[fd], writable=True, label=str(sink.path)) as server:
                yield NbdSink(uri=server.uri, zeroed=sink.zeroed or sink.create)
    finally:
        os.close(fd)


@contextlib.contextmanager
def open_target(sink: Sink) -> Iterator[NbdSource]:
    """Yields a sink for reading back. Of a file, nothing but the file itself is opened."""
    if isinstance(sink, NbdSink):
        yield NbdSource(uri=sink.uri)
        return
    try:
        fd = os.open(sink.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{sink.path} cannot be read back: {error.strerror}", retryable=False) from None
    try:
        with private_folder() as folder:
            with _daemon(_file_node(fd, sink.format, writable=False), folder, fds=[fd], writable=False) as server:
                yield NbdSource(uri=server.uri)
    finally:
        os.close(fd)


def create_file(sink: FileSink, size: int) -> None:
    """Makes a new, sparse target file that reads as zeros, replacing what was there."""
    path = sink.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sink.format is DiskFormat.RAW:
            path.unlink(missing_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, size)
                os.fsync(fd)
            finally:
                os.close(fd)
            return
        if sink.format is DiskFormat.QCOW2 and create_qcow2(path, size):
            return
    except OSError as error:
        raise sink_error(str(path), error.errno or 0, str(error.strerror)) from None
    if sink.format is not DiskFormat.QCOW2:
        raise SinkError(f"a target of format {sink.format.value} cannot be written; use raw or qcow2", retryable=False)
    code, complaint = run_tool(["qemu-img", "create", "-q", "-f", "qcow2", "--", str(path), str(size)])
    if code:
        raise SinkError(f"{path} cannot be made: {complaint}", retryable=False)
    path.chmod(0o600)


def grow_file(sink: FileSink, size: int) -> None:
    """Makes an existing target file as large as a disk that has grown; what is new reads as zeros."""
    path = sink.path
    if sink.format is not DiskFormat.RAW:
        code, complaint = run_tool(["qemu-img", "resize", "-q", "-f", sink.format.value, "--", str(path), str(size)])
        if code:
            raise SinkError(f"{path} cannot be made larger: {complaint}", retryable=False)
        return
    try:
        if path.stat().st_size < size:
            os.truncate(path, size)
    except OSError as error:
        raise sink_error(str(path), error.errno or 0, str(error.strerror)) from None


@contextlib.contextmanager
def _daemon(node: dict[str, Any], folder: Path, *, fds: list[int], writable: bool, label: str = "") -> Iterator[Server]:
    socket = folder / "nbd"
    command = [
        "qemu-storage-daemon",
        "--blockdev",
        json.dumps({**node, "node-name": _EXPORT}),
        "--nbd-server",
        f"addr.type=unix,addr.path={socket},max-connections={_CLIENTS}",
        "--export",
        f"type=nbd,id=export,node-name={_EXPORT},name={_EXPORT},writable={'on' if writable else 'off'}",
        "--pidfile",
        str(folder / "pid"),
    ]
    try:
        with serve(command, folder, fds=fds, name=_EXPORT) as server:
            yield server
    except ServerFailed as error:
        if writable:
            raise SinkError(f"{label} cannot be opened: {error.reason}", retryable="lock" in error.reason) from None
        raise _source_refused(error.reason) from None


def _source_refused(reason: str) -> SourceError | InvalidImage:
    if "lock" in reason:
        return SourceError(f"the image is in use by another program ({reason}); shut that virtual machine down")
    return InvalidImage(f"QEMU cannot read the image: {reason}")


def _file_node(fd: int, format: DiskFormat, *, writable: bool) -> dict[str, Any]:
    device = stat.S_ISBLK(os.fstat(fd).st_mode)
    file = {
        "driver": "host_device" if device else "file",
        "filename": f"/proc/self/fd/{fd}",
        "read-only": not writable,
        "discard": "unmap",
    }
    node: dict[str, Any] = {"driver": format.value, "file": file, "read-only": not writable, "discard": "unmap"}
    if format is DiskFormat.QCOW2:
        node["backing"] = None
    return node


def _least_size(image: Image) -> int | None:
    # QEMU computes the size of some VHDs from their geometry, which may be a little less than the footer's size
    return None if image.info.format is DiskFormat.VHD else image.info.size


def _unchanged(image: Image, before: tuple[Any, ...]) -> None:
    after = image.state()
    if after == before:
        return
    for file, old, new in zip(image.all_files(), before, after, strict=True):
        if new[2] < old[2]:
            raise SourceShrank(
                f"{file.path} shrank from {old[2]} to {new[2]} bytes while it was read; keep it still and start again"
            )
    raise SourceChanged(f"{image.info.path} was written while it was read; keep it still and start again")
