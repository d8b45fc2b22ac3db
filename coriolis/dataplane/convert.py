# SPDX-License-Identifier: Apache-2.0
"""Converts a local image into another file at once, by the engine that `rule` names."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from coriolis.dataplane.copy import copy_disk
from coriolis.dataplane.errors import Cancelled, DataplaneError, SinkError, ToolMissing
from coriolis.dataplane.export import create_file
from coriolis.dataplane.image import Image, open_image
from coriolis.dataplane.reader import RawReader
from coriolis.dataplane.rule import Choice, EngineName, choose
from coriolis.dataplane.server import private_folder
from coriolis.dataplane.target import sink_error
from coriolis.dataplane.types import CancelCheck, CopyOptions, DiskFormat, FileSink, ImageSource, Kind
from coriolis.dataplane.verify import digest_disk

_STEP = 64 << 20  # bytes that the kernel copies between two looks at `cancelled`
_TICK = 0.1
_CREATE = {
    DiskFormat.VHD: "subformat=fixed,force_size=on",  # what Azure takes
    DiskFormat.VMDK: "subformat=streamOptimized",
    DiskFormat.VHDX: "subformat=dynamic",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """``digest``: of the disk; None when it was not wanted, or the kernel copied."""

    engine: EngineName
    size: int
    digest: str | None
    seconds: float


def convert_image(
    source: ImageSource,
    target: Path,
    format: DiskFormat,
    *,
    digest: bool = True,
    options: CopyOptions | None = None,
    cancelled: CancelCheck | None = None,
) -> ConvertResult:
    """Makes ``target`` a new image with the disk of ``source``; an old file of that name is replaced once the new
    one is whole and on stable storage. VHDs become fixed, VMDKs stream-optimized. Blocks; raises `DataplaneError`.
    """
    start = time.monotonic()
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
        choice = choose(
            image.info.format,
            format,
            local=True,
            compressed=image.info.subformat == "streamOptimized",
            digest=digest,
            resume=False,
        )
        before = image.state()
        new = target.with_name(f".{target.name}.new")
        stack.callback(lambda: new.unlink(missing_ok=True))
        work = {EngineName.LIBNBD: _copy, EngineName.QEMU_IMG: _qemu_img, EngineName.KERNEL: _kernel}[choice.engine]
        found = work(source, image, new, format, choice, digest, options, cancelled or _never)
        if image.state() != before:
            raise SinkError(f"{source.path} was written while it was converted; keep it still and start again")
        os.replace(new, target)
        size = image.info.size
    return ConvertResult(engine=choice.engine, size=size, digest=found, seconds=time.monotonic() - start)


def _copy(
    source: ImageSource,
    _image: Image,
    new: Path,
    format: DiskFormat,
    _choice: Choice,
    _digest: bool,
    options: CopyOptions | None,
    cancelled: CancelCheck,
) -> str | None:
    with tempfile.TemporaryDirectory(dir=new.parent, prefix=".journal-") as folder:
        done = copy_disk(
            source, FileSink(path=new, format=format), journal=Path(folder) / "journal", epoch=1,
            options=options, cancelled=cancelled,
        )  # fmt: skip
    return done.digest


def _kernel(
    _source: ImageSource,
    image: Image,
    new: Path,
    _format: DiskFormat,
    _choice: Choice,
    _digest: bool,
    _options: CopyOptions | None,
    cancelled: CancelCheck,
) -> None:
    main = image.files[0]
    disk = RawReader(main.fd, main.path.name, offset=main.offset, length=main.size)
    create_file(FileSink(path=new), disk.size)
    fd = os.open(new, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for extent in disk.extents():
            end = min(extent.end, main.size)
            at = end if extent.kind is Kind.ZERO else extent.offset
            while at < end:
                if cancelled():
                    raise Cancelled("stopped as asked")
                at += _move(main.fd, fd, main.offset + at, at, min(_STEP, end - at))
        os.fsync(fd)
    except OSError as error:
        raise sink_error(str(new), error.errno or 0, str(error.strerror)) from None
    finally:
        os.close(fd)


def _move(source: int, target: int, low: int, at: int, length: int) -> int:
    """Bytes moved, at least one, by whatever way the two file systems allow."""
    try:
        moved = os.copy_file_range(source, target, length, low, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.lseek(target, at, os.SEEK_SET)
        moved = os.sendfile(target, source, low, length)
    if not moved:
        raise OSError(errno.EIO, "the source became shorter")
    return moved


def _qemu_img(
    source: ImageSource,
    image: Image,
    new: Path,
    format: DiskFormat,
    choice: Choice,
    digest: bool,
    options: CopyOptions | None,
    cancelled: CancelCheck,
) -> str | None:
    if shutil.which("qemu-img") is None:
        raise ToolMissing("the program qemu-img is not installed; on Debian: apt install qemu-utils")
    stop = threading.Event()
    with private_folder() as folder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = None
        if digest:
            reading = pool.submit(digest_disk, source, options=options, cancelled=stop.is_set)
        try:
            _run(image, folder, new, format, choice, cancelled)
            while reading is not None and not reading.done():
                if cancelled():
                    raise Cancelled("stopped as asked")
                time.sleep(_TICK)
        finally:
            stop.set()
        return None if reading is None else reading.result().digest


def _run(image: Image, folder: Path, new: Path, format: DiskFormat, choice: Choice, cancelled: CancelCheck) -> None:
    snapshot = ["-l", f"snapshot.id={image.snapshot}"] if image.snapshot else []
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-img", "convert", *choice.flags, *snapshot, "-t", "writeback"]
    command += ["-O", format.value, "-o", _CREATE[format], f"json:{json.dumps(image.node(folder))}", str(new)]
    fds = tuple(file.fd for file in image.all_files())
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds, cwd="/")
    try:
        while process.poll() is None:
            if cancelled():
                raise Cancelled("stopped as asked")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise _failure(new, (folder / "log").read_text(errors="replace").strip())
    fd = os.open(new, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _failure(new: Path, said: str) -> DataplaneError:
    last = said.splitlines()[-1] if said else "it ended without a word"
    code = errno.ENOSPC if "No space left" in said else errno.EIO
    return sink_error(str(new), code, f"qemu-img: {last}")


def _never() -> bool:
    return False
