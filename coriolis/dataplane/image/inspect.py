# SPDX-License-Identifier: Apache-2.0
"""Opens an image with everything that belongs to it, checked; gives what QEMU needs to open exactly that."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coriolis.dataplane.errors import InvalidImage, UnsafeImage
from coriolis.dataplane.image import qcow2, vhd, vmdk, vmdk_sparse
from coriolis.dataplane.image.reading import ImageFile, check_size, companion
from coriolis.dataplane.types import DiskFormat

_MAX_CHAIN = 16
_MAX_EXTENTS = 1024
_MAGIC: tuple[tuple[bytes, DiskFormat], ...] = (
    (qcow2.MAGIC, DiskFormat.QCOW2),
    (vmdk_sparse.SPARSE_MAGIC, DiskFormat.VMDK),
    (vmdk.DESCRIPTOR_MAGIC, DiskFormat.VMDK),
    (vhd.VHDX_MAGIC, DiskFormat.VHDX),
    (vhd.FOOTER_MAGIC, DiskFormat.VHD),
)
#: Formats that QEMU knows and we do not: better refused by name than copied as if they were raw.
_CONVERT = ", which is not supported; convert it to QCOW2 first"
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (vmdk_sparse.COWD_MAGIC, "the data of an ESXi snapshot: name its descriptor, the small .vmdk beside it"),
    (vmdk_sparse.SE_MAGIC, "the data of an ESXi snapshot: name its descriptor, the small .vmdk beside it"),
    (b"<<< QEMU VM Virtual Disk Image", "VDI" + _CONVERT),
    (b"<<< Oracle VM VirtualBox", "VDI" + _CONVERT),
    (b"WithoutFreeSpace", "Parallels" + _CONVERT),
    (b"WithouFreSpacExt", "Parallels" + _CONVERT),
    (b"QED\0", "QED" + _CONVERT),
    (b"LUKS\xba\xbe", "LUKS" + _CONVERT),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """A disk image that is safe to open. ``size``: virtual bytes; ``files``: all that it needs, itself
    first.
    """

    path: Path
    format: DiskFormat
    size: int
    files: tuple[Path, ...]
    subformat: str = ""


@dataclasses.dataclass(kw_only=True)
class Image:
    """An inspected image with its files open. ``descriptor``: a harmless VMDK descriptor to use in place of
    its own.
    """

    info: ImageInfo
    files: list[ImageFile]
    backing: Image | None = None
    descriptor: str | None = None
    cid: str | None = None  # of a VMDK
    snapshot: str | None = None  # id, when not the image's present state is meant

    def all_files(self) -> list[ImageFile]:
        return self.files + (self.backing.all_files() if self.backing else [])

    def state(self) -> tuple[Any, ...]:
        """Changes when any of its files does."""
        return tuple(file.state() for file in self.all_files())

    def node(self, folder: Path) -> dict[str, Any]:
        """The ``blockdev`` tree that opens this image read-only; puts a VMDK descriptor into ``folder`` if
        one is needed.
        """
        node: dict[str, Any] = {"driver": self.info.format.value, "read-only": True, "file": self._file(folder)}
        if self.info.format in (DiskFormat.QCOW2, DiskFormat.VMDK):
            node["backing"] = self.backing.node(folder) if self.backing else None
        return node

    def _file(self, folder: Path) -> dict[str, Any]:
        main = self.files[0]
        if self.descriptor is None:
            kind = "host_device" if main.is_device else "file"
            return _window(main, {"driver": kind, "filename": f"/proc/self/fd/{main.fd}", "read-only": True})
        folder = folder / f"vmdk{main.fd}"  # of this link of the chain
        folder.mkdir(exist_ok=True)
        for number, file in enumerate(self.files[1:]):
            (folder / extent_name(number)).symlink_to(f"/proc/self/fd/{file.fd}")
        path = folder / "disk.vmdk"
        path.write_text(self.descriptor)
        return {"driver": "file", "filename": str(path)}


def _window(file: ImageFile, node: dict[str, Any]) -> dict[str, Any]:
    """``node`` limited to the window of ``file``. QEMU wants whole sectors; a tar pads its members to them."""
    if not file.windowed:
        return node
    return {"driver": "raw", "offset": file.offset, "size": -(-file.size // 512) * 512, "file": node, "read-only": True}


def extent_name(number: int) -> str:
    return f"extent{number}"


def inspect_image(
    path: Path,
    *,
    format: DiskFormat | None = None,
    folder: Path | None = None,
    offset: int = 0,
    length: int | None = None,
    snapshot: str | None = None,
) -> ImageInfo:
    """Finds out what ``path`` is, without QEMU.

    ``folder`` (default: the image's own) must hold the image and everything it names. ``format``: what it
    has to be; RAW takes any file as it is. Raises `UnsafeImage` for names that lead elsewhere and for sizes
    that lie, `InvalidImage` for damaged, truncated, encrypted or unknown images. ``offset``, ``length``: the
    window of ``path`` that holds the image, which then may not name any other file. ``snapshot``: id or name of the
    internal snapshot of a QCOW2 that is meant.
    """
    with open_image(path, format=format, folder=folder, offset=offset, length=length, snapshot=snapshot) as image:
        return image.info


@contextlib.contextmanager
def open_image(
    path: Path,
    *,
    format: DiskFormat | None = None,
    folder: Path | None = None,
    offset: int = 0,
    length: int | None = None,
    snapshot: str | None = None,
) -> Iterator[Image]:
    """As `inspect_image`; keeps the files open for the block."""
    opened: list[ImageFile] = []
    top = folder if folder is not None else path.parent

    def open_file(name: Path) -> ImageFile:
        if opened and opened[0].windowed:
            raise UnsafeImage(f"the image inside of {path.name} names the file {name.name!r}, which it may not")
        file = ImageFile(name, top, offset, length)
        opened.append(file)
        return file

    try:
        yield _open(path, format, open_file, depth=0, snapshot=snapshot)
    finally:
        for file in opened:
            file.close()


def detect(file: ImageFile) -> DiskFormat:
    """The format by content. What looks like nothing is raw."""
    head = file.read(0, min(file.size, 64), "header")
    for magic, format in _MAGIC:
        if head.startswith(magic):
            return format
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise InvalidImage(f"{file.path.name} is {name}")
    if vhd.has_footer(file):
        return DiskFormat.VHD
    return DiskFormat.RAW


Opener = Callable[[Path], ImageFile]


def _open(
    path: Path, expected: DiskFormat | None, open_file: Opener, *, depth: int, snapshot: str | None = None
) -> Image:
    if depth > _MAX_CHAIN:
        raise InvalidImage(f"{path.name}: its chain of backing files is longer than {_MAX_CHAIN} or a circle")
    file = open_file(path)
    if file.size == 0:
        raise InvalidImage(f"{path.name} is empty; get it again")
    if expected is DiskFormat.RAW and snapshot is None:
        return _raw(file)
    found = detect(file)
    if expected is not None and found is not expected:
        raise InvalidImage(f"{path.name} should be {expected.value} but is {found.value}, or it is truncated")
    if found is DiskFormat.QCOW2:
        return _qcow2(file, open_file, depth, snapshot)
    if snapshot is not None:
        raise InvalidImage(f"{path.name} is {found.value}; only a QCOW2 holds snapshots of itself")
    if found is DiskFormat.VMDK:
        return _vmdk(file, open_file, depth)
    return _READERS[found](file, open_file)


def _raw(file: ImageFile, _open_file: Opener | None = None) -> Image:
    check_size(file.path, file.size)
    return _image(file, DiskFormat.RAW, file.size)


def _vhd(file: ImageFile, _open_file: Opener) -> Image:
    return _image(file, DiskFormat.VHD, vhd.read_vhd(file))


def _vhdx(file: ImageFile, _open_file: Opener) -> Image:
    return _image(file, DiskFormat.VHDX, vhd.read_vhdx(file))


def _vmdk(file: ImageFile, open_file: Opener, depth: int) -> Image:
    if file.read(0, 4, "header") == vmdk_sparse.SPARSE_MAGIC:
        descriptor, size = vmdk.read_embedded(file)
        image = _image(file, DiskFormat.VMDK, size, subformat=descriptor.kind)
    else:
        descriptor = vmdk.read_descriptor(file)
        image = _extents(file, descriptor, open_file)
    image.cid = descriptor.cid
    if descriptor.parent is None:
        return image
    parent = _open(companion(file.path, descriptor.parent, "parent"), DiskFormat.VMDK, open_file, depth=depth + 1)
    if parent.cid is None or int(parent.cid, 16) != int(descriptor.parent_cid, 16):
        raise InvalidImage(
            f"{file.path.name} is a snapshot of {descriptor.parent}, which was written after it was taken; "
            "consolidate the snapshots and export the disk again"
        )
    return _over(image, parent)


def _extents(file: ImageFile, descriptor: vmdk.Descriptor, open_file: Opener) -> Image:
    name = file.path.name
    size = check_size(file.path, descriptor.size)
    if len(descriptor.extents) > _MAX_EXTENTS:
        raise InvalidImage(f"{name}: {len(descriptor.extents)} extents; at most {_MAX_EXTENTS} are possible")
    files = [file]
    names: list[str] = []
    for extent in descriptor.extents:
        names.append(extent_name(len(files) - 1))
        if extent.type == "ZERO":
            continue
        member = open_file(companion(file.path, extent.name, "extent"))
        files.append(member)
        vmdk.check_extent(name, extent, member)
    image = _image(file, DiskFormat.VMDK, size, subformat=descriptor.kind, files=files)
    image.descriptor = vmdk.rewritten(descriptor, names)
    return image


def _over(image: Image, backing: Image) -> Image:
    """``image`` on top of ``backing``, of which it shows what it does not hold itself."""
    image.backing = backing
    image.info = dataclasses.replace(image.info, files=(*image.info.files, *backing.info.files))
    return image


def _qcow2(file: ImageFile, open_file: Opener, depth: int, snapshot: str | None) -> Image:
    header = qcow2.read(file, snapshot)
    image = _image(file, DiskFormat.QCOW2, header.size)
    image.snapshot = header.snapshot.id if header.snapshot else None
    if header.backing is None:
        return image
    backing = companion(file.path, header.backing, "backing file")
    if header.backing_format is None:
        raise UnsafeImage(
            f"{file.path.name} does not say what format its backing file has; set it: qemu-img rebase -u -F FORMAT"
        )
    formats = {f.value: f for f in DiskFormat}
    if header.backing_format not in formats:
        raise InvalidImage(f"{file.path.name}: a backing file of format {header.backing_format!r} is not supported")
    return _over(image, _open(backing, formats[header.backing_format], open_file, depth=depth + 1))


_READERS: dict[DiskFormat, Callable[[ImageFile, Opener], Image]] = {
    DiskFormat.RAW: _raw,
    DiskFormat.VHD: _vhd,
    DiskFormat.VHDX: _vhdx,
}


def _image(
    file: ImageFile, format: DiskFormat, size: int, *, subformat: str = "", files: list[ImageFile] | None = None
) -> Image:
    members = files or [file]
    info = ImageInfo(
        path=file.path, format=format, size=size, files=tuple(m.path for m in members), subformat=subformat
    )
    return Image(info=info, files=members)
