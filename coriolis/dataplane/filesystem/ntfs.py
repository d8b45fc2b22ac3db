# SPDX-License-Identifier: Apache-2.0
"""Free clusters of NTFS, and its page files (facts as in the Linux-NTFS project's documentation). Little endian.

The boot sector says where the master file table is. Its record 2 is the log, 3 the volume with its flags, 5 the root
folder, 6 the bitmap of clusters in use. Records and index blocks carry in the last two bytes of each sector a number
that is checked and replaced by the bytes that belong there ("fixup").
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from coriolis.dataplane.filesystem.volume import LEAST, Range, Unusable, Volume, clear_runs

_LOG, _VOLUME, _ROOT, _BITMAP = 2, 3, 5, 6
_DATA, _VOLUME_INFORMATION, _INDEX_ROOT, _INDEX_ALLOCATION, _ATTRIBUTE_LIST = 0x80, 0x70, 0x90, 0xA0, 0x20
_END = 0xFFFFFFFF
_DIRTY = 0x1
_LOG_CLEAN, _NO_CLIENT = 0x2, 0xFFFF
_LAST_ENTRY = 0x2
_STEP = 1 << 20  # bytes of bitmap at a time
_PAGE_FILES = ("pagefile.sys", "swapfile.sys")
_MOST_INDEX_BLOCKS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Boot:
    sector: int
    cluster: int
    clusters: int
    mft: int  # bytes
    record: int  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Attribute:
    """``value`` when it is in the record, otherwise ``runs`` of (cluster or None, clusters) and ``size`` in bytes."""

    value: bytes | None = None
    runs: tuple[tuple[int | None, int], ...] = ()
    size: int = 0


def matches(volume: Volume) -> bool:
    return volume.size >= 4096 and volume.read(3, 8) == b"NTFS    "


def free(volume: Volume) -> Iterator[Range]:
    """Free ranges, then page files. Raises `Unusable` when the volume is dirty or in use."""
    boot = _boot(volume)
    _check_clean(volume, boot)
    bitmap = _attribute(volume, boot, _BITMAP, _DATA)
    if bitmap is None or bitmap.value is not None or bitmap.size * 8 < boot.clusters:
        raise Unusable("its bitmap is damaged; check it (chkdsk)")
    first = 0
    for raw in _contents(volume, boot, bitmap):
        raw = raw[: -(-(boot.clusters - first) // 8)]
        for offset, length in clear_runs(raw, boot.cluster, first * boot.cluster):
            end = min(offset + length, boot.clusters * boot.cluster)
            if end > offset:
                yield offset, end - offset
        first += 8 * len(raw)
    yield from _page_files(volume, boot)


def _boot(volume: Volume) -> _Boot:
    raw = volume.read(0, 512)
    sector, code = struct.unpack_from("<HB", raw, 11)
    sectors, mft = struct.unpack_from("<QQ", raw, 40)
    (record_code,) = struct.unpack_from("<b", raw, 64)
    per_cluster = code if code <= 0x80 else 1 << min(256 - code, 31)
    cluster = sector * per_cluster
    record = record_code * cluster if record_code > 0 else 1 << min(-record_code, 31)
    fits = sector in (512, 1024, 2048, 4096) and 512 <= cluster <= 2 << 20 and cluster & cluster - 1 == 0
    if not fits or record not in (1024, 2048, 4096) or sectors * sector > volume.size:
        raise Unusable("its boot sector is damaged")
    return _Boot(sector=sector, cluster=cluster, clusters=sectors // per_cluster, mft=mft * cluster, record=record)


def _check_clean(volume: Volume, boot: _Boot) -> None:
    about = _attribute(volume, boot, _VOLUME, _VOLUME_INFORMATION)
    if about is None or about.value is None or len(about.value) < 12:
        raise Unusable("it has no volume information; check it (chkdsk)")
    if struct.unpack_from("<H", about.value, 10)[0] & _DIRTY:
        raise Unusable("it is marked dirty; check it (chkdsk)")
    log = _attribute(volume, boot, _LOG, _DATA)
    if log is None or not log.runs:
        raise Unusable("it has no log; check it (chkdsk)")
    page = next(_contents(volume, boot, log, step=4096))[:4096]
    if page == b"\xff" * len(page):
        return  # a log that was emptied
    if page[:4] != b"RSTR":
        raise Unusable("its log is damaged; check it (chkdsk)")
    (area,) = struct.unpack_from("<H", page, 24)
    if area > len(page) - 16:
        raise Unusable("its log is damaged; check it (chkdsk)")
    clients, flags = struct.unpack_from("<HH", page, area + 12)
    if clients != _NO_CLIENT and not flags & _LOG_CLEAN:
        raise Unusable("it is mounted, hibernated or was not unmounted: its log holds changes")


def _record(volume: Volume, boot: _Boot, number: int) -> bytes:
    """A record of the master file table; those used here are always in its first piece."""
    return _fixed(volume.read(boot.mft + number * boot.record, boot.record), b"FILE")


def _fixed(raw: bytes, magic: bytes) -> bytes:
    """A record or index block after undoing its fixup."""
    at, count = struct.unpack_from("<HH", raw, 4)
    if raw[:4] != magic or count < 2 or at + 2 * count > len(raw) or len(raw) % (count - 1):
        raise Unusable("its master file table is damaged; check it (chkdsk)")
    step = len(raw) // (count - 1)
    data, mark = bytearray(raw), raw[at : at + 2]
    for index in range(1, count):
        end = index * step
        if data[end - 2 : end] != mark:
            raise Unusable("its master file table is damaged; check it (chkdsk)")
        data[end - 2 : end] = raw[at + 2 * index : at + 2 * index + 2]
    return bytes(data)


def _attribute(volume: Volume, boot: _Boot, number: int, kind: int) -> _Attribute | None:
    return _attributes(volume, boot, _record(volume, boot, number)).get(kind)


def _attributes(volume: Volume, boot: _Boot, record: bytes) -> dict[int, _Attribute]:
    """The first attribute of each kind. Raises `Unusable` when some are in other records."""
    found: dict[int, _Attribute] = {}
    (at,) = struct.unpack_from("<H", record, 20)
    while at + 8 <= len(record):
        kind, length, outside = struct.unpack_from("<IIB", record, at)
        if kind == _END:
            return found
        if kind == _ATTRIBUTE_LIST:
            raise Unusable("a file of its metadata is in many pieces")
        if length < 24 or at + length > len(record):
            break
        raw = record[at : at + length]
        found.setdefault(kind, _mapped(volume, boot, raw) if outside else _resident(raw))
        at += length
    raise Unusable("its master file table is damaged; check it (chkdsk)")


def _resident(raw: bytes) -> _Attribute:
    length, start = struct.unpack_from("<IH", raw, 16)
    return _Attribute(value=raw[start : start + length], size=length)


def _mapped(volume: Volume, boot: _Boot, raw: bytes) -> _Attribute:
    if len(raw) < 64:
        raise Unusable("its master file table is damaged; check it (chkdsk)")
    (start,) = struct.unpack_from("<H", raw, 32)
    (size,) = struct.unpack_from("<Q", raw, 48)
    return _Attribute(runs=tuple(_runs(boot, raw[start:])), size=size)


def _runs(boot: _Boot, raw: bytes) -> Iterator[tuple[int | None, int]]:
    """(first cluster, clusters) pieces: each a byte with the lengths of two numbers, a length and a signed step."""
    at, cluster = 0, 0
    while at < len(raw) and raw[at]:
        long, step = raw[at] & 15, raw[at] >> 4
        count = int.from_bytes(raw[at + 1 : at + 1 + long], "little")
        if not 0 < long <= 8 or step > 8 or not 0 < count <= boot.clusters:
            raise Unusable("a file of its metadata is damaged; check it (chkdsk)")
        if step:
            cluster += int.from_bytes(raw[at + 1 + long : at + 1 + long + step], "little", signed=True)
            if not 0 <= cluster <= boot.clusters - count:
                raise Unusable("a file of its metadata is damaged; check it (chkdsk)")
        yield (cluster if step else None), count
        at += 1 + long + step


def _contents(volume: Volume, boot: _Boot, attribute: _Attribute, step: int = _STEP) -> Iterator[bytes]:
    """A file's bytes, piece by piece; holes and what is behind its size count as zeros."""
    left = attribute.size
    for cluster, count in attribute.runs:
        length = min(count * boot.cluster, left)
        for done in range(0, length, step):
            some = min(step, length - done)
            yield bytes(some) if cluster is None else volume.read(cluster * boot.cluster + done, some)
        left -= length


def _page_files(volume: Volume, boot: _Boot) -> Iterator[Range]:
    """The clusters of page files in the root folder. What cannot be understood is left alone: it is only copied."""
    try:
        numbers = set(_root_entries(volume, boot))
        files = [_attribute(volume, boot, number, _DATA) for number in sorted(numbers)]
    except (Unusable, struct.error):
        return
    for file in files:
        for cluster, count in file.runs if file else ():
            if cluster is not None and count * boot.cluster >= LEAST:
                yield cluster * boot.cluster, count * boot.cluster


def _root_entries(volume: Volume, boot: _Boot) -> Iterator[int]:
    """Record numbers of the page files that the root folder lists and that lie in the first piece of the table."""
    attributes = _attributes(volume, boot, _record(volume, boot, _ROOT))
    reach = _attribute(volume, boot, 0, _DATA)
    first_piece = reach.runs[0][1] * boot.cluster // boot.record if reach and reach.runs else 0
    root = attributes[_INDEX_ROOT].value or b""
    (block_size,) = struct.unpack_from("<I", root, 8)
    nodes = [root[16:]]
    if _INDEX_ALLOCATION in attributes and block_size in (4096, 2048, 1024, 8192):
        raw = b"".join(_contents(volume, boot, attributes[_INDEX_ALLOCATION]))
        for at in range(0, min(len(raw), _MOST_INDEX_BLOCKS * block_size), block_size):
            if raw[at : at + 4] == b"INDX":
                nodes.append(_fixed(raw[at : at + block_size], b"INDX")[24:])
    for node in nodes:
        yield from (number for name, number in _entries(node) if name in _PAGE_FILES and number < first_piece)


def _entries(node: bytes) -> Iterator[tuple[str, int]]:
    """(lower-cased name, record number) of the entries of one node of a folder's index."""
    at, end = struct.unpack_from("<II", node)
    while at + 16 <= min(end, len(node)):
        reference, length, _, flags = struct.unpack_from("<QHHH", node, at)
        if flags & _LAST_ENTRY or length < 16:
            return
        count = node[at + 16 + 64]
        name = node[at + 16 + 66 : at + 16 + 66 + 2 * count].decode("utf-16-le", "replace")
        yield name.lower(), reference & 0xFFFF_FFFF_FFFF
        at += length
