# SPDX-License-Identifier: Apache-2.0
"""VMDK descriptors with their extents and parents (VMware "Virtual Disk Format 5.0")."""

from __future__ import annotations

import dataclasses
import re

from coriolis.dataplane.errors import InvalidImage, UnsafeImage
from coriolis.dataplane.image.reading import ImageFile
from coriolis.dataplane.image.vmdk_sparse import SECTOR, check_grains, extent_size, sparse_header

DESCRIPTOR_MAGIC = b"# Disk DescriptorFile"
_NO_PARENT = "ffffffff"
_MAX_DESCRIPTOR = 1 << 20
_EXTENT = re.compile(
    r'^(?P<access>RW|RDONLY|NOACCESS)\s+(?P<sectors>\d+)\s+(?P<type>[A-Z]+)(?:\s+"(?P<name>[^"]*)"(?:\s+(?P<offset>\d+))?)?\s*$'
)
_FLAT, _SPARSE = ("FLAT", "VMFS"), ("SPARSE", "VMFSSPARSE", "SESPARSE")
_KINDS = {"SPARSE": "twoGbMaxExtentSparse", "VMFSSPARSE": "vmfsSparse", "SESPARSE": "seSparse"}
_CID = re.compile(r"^[0-9a-f]{1,8}$")
_SETTING = re.compile(r'^\s*([A-Za-z0-9_.]+)\s*=\s*"?([^"]*)"?\s*$')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """One line of a descriptor. ``offset``: in the file, in sectors, of a flat extent. ``name`` is empty
    for ZERO.
    """

    sectors: int
    type: str
    name: str = ""
    offset: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor:
    """``cid``, ``parent_cid``: what the contents are called, in hexadecimal. ``parent``: the name of the VMDK that
    this one is a snapshot of, or None.
    """

    kind: str
    cid: str
    parent_cid: str
    parent: str | None
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        return sum(extent.sectors for extent in self.extents) * SECTOR


def parse_descriptor(name: str, text: str) -> Descriptor:
    """Reads a descriptor; raises `InvalidImage` for what cannot be one."""
    settings: dict[str, str] = {}
    extents: list[Extent] = []
    for line in text.split("\0", 1)[0].splitlines():
        match = _EXTENT.match(line.strip())
        if match:
            extents.append(
                Extent(
                    sectors=int(match["sectors"]),
                    type=match["type"],
                    name=match["name"] or "",
                    offset=int(match["offset"] or 0),
                )
            )
        elif setting := _SETTING.match(line):
            settings.setdefault(setting[1].lower(), setting[2].strip())
        elif line.startswith(("RW ", "RDONLY ", "NOACCESS ")):
            raise InvalidImage(f"{name}: the extent line {line[:80]!r} cannot be read")
    if not extents or "createtype" not in settings:
        raise InvalidImage(f"{name}: its VMDK descriptor has no extents or no createType")
    cid, parent_cid = (settings.get(key, _NO_PARENT).lower() for key in ("cid", "parentcid"))
    parent = settings.get("parentfilenamehint") or None
    if not (_CID.match(cid) and _CID.match(parent_cid)):
        raise InvalidImage(f"{name}: the content identifiers in its VMDK descriptor are damaged; get it again")
    if (parent is None) != (int(parent_cid, 16) == int(_NO_PARENT, 16)):
        raise InvalidImage(f"{name} is a snapshot of another VMDK; consolidate the snapshots and export the disk again")
    return Descriptor(
        kind=settings["createtype"], cid=cid, parent_cid=parent_cid, parent=parent, extents=tuple(extents)
    )


def read_descriptor(file: ImageFile) -> Descriptor:
    if file.size > _MAX_DESCRIPTOR:
        raise InvalidImage(f"{file.path.name}: a VMDK descriptor of {file.size} bytes; at most 1 MiB is possible")
    return parse_descriptor(file.path.name, file.read(0, file.size, "descriptor").decode("utf-8", "replace"))


def check_extent(image: str, extent: Extent, file: ImageFile) -> None:
    """The extent's file must hold what the descriptor promises."""
    length = extent.sectors * SECTOR
    if extent.type in _FLAT:
        if extent.offset * SECTOR + length > file.size:
            raise UnsafeImage(
                f"{image} promises {length} bytes in {extent.name} from sector {extent.offset}, the file has "
                f"{file.size}; the descriptor lies or the file is truncated"
            )
    elif extent.type in _SPARSE:
        capacity = extent_size(file)
        if capacity != length:
            raise UnsafeImage(
                f"{image} promises {length} bytes in {extent.name}, whose header says {capacity}; the descriptor lies"
            )
    else:
        raise InvalidImage(f"{image}: extents of type {extent.type} are not supported; export the disk as one VMDK")


def read_embedded(file: ImageFile) -> tuple[Descriptor, int]:
    """Descriptor and virtual size of a sparse extent that is a disk of its own, after checking both and its grains."""
    header = sparse_header(file)
    descriptor = _embedded(file, *header.descriptor, header.capacity)
    check_grains(file, header)
    return descriptor, header.capacity * SECTOR


def _embedded(file: ImageFile, at: int, length: int, capacity: int) -> Descriptor:
    name = file.path.name
    if not at or not 0 < length * SECTOR <= _MAX_DESCRIPTOR:
        raise InvalidImage(
            f"{name}: a sparse VMDK without a descriptor is a piece of a disk; name its descriptor instead"
        )
    descriptor = parse_descriptor(
        name, file.read(at * SECTOR, length * SECTOR, "descriptor").decode("utf-8", "replace")
    )
    if len(descriptor.extents) != 1 or any(c in descriptor.extents[0].name for c in "/\\"):
        raise UnsafeImage(f"{name}: its own descriptor names other files as extents; it was not opened")
    if descriptor.extents[0].sectors != capacity:
        raise UnsafeImage(
            f"{name}: the descriptor says {descriptor.extents[0].sectors} sectors, the header {capacity}; "
            "one of them lies"
        )
    return descriptor


def rewritten(descriptor: Descriptor, names: list[str]) -> str:
    """A descriptor for the same extents under ``names`` with nothing else from the original in it but what QEMU
    compares a snapshot and its parent by.
    """
    # No blank lines: QEMU 7.2 skips over one into the extent below it and takes that extent twice.
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        f"CID={descriptor.cid}",
        f"parentCID={descriptor.parent_cid}",
        f'createType="{_KINDS.get(descriptor.extents[0].type, "twoGbMaxExtentFlat")}"',
    ]
    for extent, name in zip(descriptor.extents, names, strict=True):
        if extent.type == "ZERO":
            lines.append(f"RW {extent.sectors} ZERO")
        elif extent.type in _SPARSE:
            lines.append(f'RW {extent.sectors} {extent.type} "{name}"')
        else:
            lines.append(f'RW {extent.sectors} FLAT "{name}" {extent.offset}')
    return "\n".join([*lines, ""])
