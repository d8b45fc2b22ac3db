# SPDX-License-Identifier: Apache-2.0
"""The records of a journal: their layout, and what they say together. No I/O.

A journal that ends in rubbish was cut off while it grew: the rubbish is dropped. Rubbish with valid records
after it is damage: `load` says so and the caller copies everything again. A ROUND record starts a round
over one source identity, FINISH ends it with the digest of the disk. Layout, little endian::

    header   magic[16] version:u32 leaf_size:u32 size:u64 reserved[28] crc32:u32
    record   kind:u8 reserved[3] count:u32 index:u64 epoch:u64 digest[32] reserved[4] crc32:u32
"""

from __future__ import annotations

import dataclasses
import enum
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import blake3

from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.errors import JournalError
from coriolis.dataplane.extents import leaf_count
from coriolis.dataplane.types import LEAF_SIZE

RECORD_SIZE = 64
_MAGIC = b"coriolis-journal"
_VERSION = 1
_HEADER = struct.Struct("<16sIIQ28x")
_RECORD = struct.Struct("<B3xIQQ32s4x")
_CRC = struct.Struct("<I")
_ZEROS = bytes(32)
_MAX_COUNT = (1 << 32) - 1
_PAGE = 4096  # bytes; FINISH counts in these what was left out


class Record(enum.IntEnum):
    """``index``, ``count`` and ``digest`` mean: leaf, -, leaf digest | leaf, leaves, - | round, mode,
    identity | leaf, -, - | round, pages left out, disk digest | leaf, -, -.
    """

    LEAF = 1
    ZERO = 2
    ROUND = 3
    FRONTIER = 4
    FINISH = 5
    DOUBT = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """The last round that a journal knows. ``identity`` is hashed; None when the caller had none to give. ``left_out``:
    bytes of data, in whole pages, for which the target holds zeros since nobody will miss them.
    """

    number: int
    identity: bytes | None
    digest: bytes | None  # of the disk, once finished
    left_out: int = 0

    @property
    def finished(self) -> bool:
        return self.digest is not None


@dataclasses.dataclass(kw_only=True)
class Loaded:
    """A journal as read from its file. ``base``: the last finished round. ``length``: bytes that are good."""

    size: int
    leaves: LeafTable
    round: Round | None = None
    base: Round | None = None
    frontier: int = 0
    records: int = 0
    length: int = RECORD_SIZE


def identity_hash(identity: str | None) -> bytes | None:
    return None if identity is None else blake3.blake3(identity.encode()).digest()


def pack(kind: Record, *, index: int, count: int = 0, epoch: int = 0, digest: bytes | None = None) -> bytes:
    return _seal(_RECORD.pack(kind, count, index, epoch, digest or _ZEROS))


def pack_zero(index: int, count: int, epoch: int) -> Iterator[bytes]:
    while count > 0:
        some = min(count, _MAX_COUNT)
        yield pack(Record.ZERO, index=index, count=some, epoch=epoch)
        index, count = index + some, count - some


def whole_pages(length: int) -> int:
    """``length`` bytes as a journal can say it."""
    return min(-(-length // _PAGE), _MAX_COUNT) * _PAGE


def pack_finish(round_: Round, epoch: int) -> bytes:
    pages = whole_pages(round_.left_out) // _PAGE
    return pack(Record.FINISH, index=round_.number, count=pages, epoch=epoch, digest=round_.digest)


def parse(raw: bytes, path: Path) -> Loaded:
    """A journal from its bytes; ``path`` is for messages. Raises `JournalError` when it is damaged."""
    if len(raw) < RECORD_SIZE:
        raise JournalError(f"{path} is cut off in its header; the copy has to start over")
    header = _unseal(raw[:RECORD_SIZE])
    if header is None or not header.startswith(_MAGIC):
        raise JournalError(f"{path} is not a journal, or damaged; the copy has to start over")
    _, version, leaf_size, size = _HEADER.unpack(header)
    if version != _VERSION or leaf_size != LEAF_SIZE:
        raise JournalError(
            f"{path} has version {version} and leaves of {leaf_size} bytes; this release reads {_VERSION}"
        )
    loaded = Loaded(size=size, leaves=LeafTable(size))
    view = memoryview(raw)
    for position in range(RECORD_SIZE, len(raw) - RECORD_SIZE + 1, RECORD_SIZE):
        body = _unseal(view[position : position + RECORD_SIZE])
        if body is None:
            _refuse_damage(path, view, position + RECORD_SIZE)
            break
        _apply(path, loaded, body)
        loaded.length = position + RECORD_SIZE
        loaded.records += 1
    return loaded


def finished(size: int, leaves: LeafTable, base: Round | None, epoch: int) -> bytes:
    """The shortest journal that says this, between two rounds: no round is unfinished."""
    parts = [header(size)]
    if base is not None:
        parts.append(pack(Record.ROUND, index=base.number, epoch=epoch, digest=base.identity))
    parts += _trusted(leaves, epoch)
    if base is not None:
        parts.append(pack_finish(base, epoch))
    return b"".join(parts)


def distrusting(size: int) -> bytes:
    """A journal with an unfinished round that may have touched every leaf."""
    return header(size) + pack(Record.ROUND, index=1) + 2 * pack(Record.FRONTIER, index=leaf_count(size))


def grown(loaded: Loaded, size: int, epoch: int) -> bytes:
    """The journal of the same disk after it became larger. Nobody has written beyond its old end; of the old last leaf,
    when it was a short one, nothing is known any more.
    """
    last = leaf_count(loaded.size) - 1
    short = loaded.size % LEAF_SIZE != 0
    leaves = LeafTable(size)
    for index, count, zero in loaded.leaves.runs():
        stop = min(index + count, last) if short else index + count
        if zero and stop > index:
            leaves.put_zero(index, stop - index)
        elif stop > index:
            leaves.put(index, loaded.leaves.get(index) or b"")
    known = loaded.round
    if known is None or (known.finished and not short):
        return finished(size, leaves, loaded.base, epoch)
    # What is not among the trusted leaves may hold anything: an unfinished round may have touched all of the old disk.
    begun = pack(Record.ROUND, index=known.number, epoch=epoch)
    reach = 2 * pack(Record.FRONTIER, index=last + 1, epoch=epoch)
    base = b"" if loaded.base is None else _empty_round(loaded.base, epoch)
    return header(size) + base + begun + reach + b"".join(_trusted(leaves, epoch))


def _empty_round(base: Round, epoch: int) -> bytes:
    start = pack(Record.ROUND, index=base.number, epoch=epoch, digest=base.identity)
    return start + pack_finish(base, epoch)


def _trusted(leaves: LeafTable, epoch: int) -> Iterator[bytes]:
    for index, count, zero in leaves.runs():
        if zero:
            yield from pack_zero(index, count, epoch)
        else:
            yield pack(Record.LEAF, index=index, epoch=epoch, digest=leaves.get(index))


def header(size: int) -> bytes:
    return _seal(_HEADER.pack(_MAGIC, _VERSION, LEAF_SIZE, size))


def _apply(path: Path, loaded: Loaded, body: bytes) -> None:
    kind, count, index, _epoch, digest = _RECORD.unpack(body)
    leaves = loaded.leaves
    if kind in (Record.LEAF, Record.ZERO, Record.DOUBT) and index + (count or 1) > leaves.count:
        raise JournalError(f"{path} names leaf {index} of a disk of {leaves.count} leaves; the copy has to start over")
    if kind == Record.LEAF:
        leaves.put(index, digest)
    elif kind == Record.ZERO:
        leaves.put_zero(index, count)
    elif kind == Record.ROUND:
        if loaded.round is not None and not loaded.round.finished:
            leaves.doubt(min(loaded.frontier, leaves.count))
        identity = None if digest == _ZEROS else digest
        loaded.round = Round(number=index, identity=identity, digest=None)
        loaded.frontier = 0
        leaves.new_round()
    elif kind == Record.DOUBT:
        leaves.doubt_one(index)
    elif kind == Record.FRONTIER:
        loaded.frontier = index
    elif kind == Record.FINISH and loaded.round is not None:
        loaded.base = loaded.round = dataclasses.replace(loaded.round, digest=digest, left_out=count * _PAGE)


def _refuse_damage(path: Path, view: memoryview, position: int) -> None:
    for later in range(position, len(view) - RECORD_SIZE + 1, RECORD_SIZE):
        if _unseal(view[later : later + RECORD_SIZE]) is not None:
            raise JournalError(f"{path} is damaged in its middle; the copy has to start over")


def _seal(body: bytes) -> bytes:
    return body + _CRC.pack(zlib.crc32(body))


def _unseal(raw: bytes | memoryview) -> bytes | None:
    body, (crc,) = bytes(raw[:-4]), _CRC.unpack(raw[-4:])
    return body if zlib.crc32(body) == crc else None
