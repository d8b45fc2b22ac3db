# SPDX-License-Identifier: Apache-2.0
"""The digest of a disk: a two-level BLAKE3 tree. Anybody can compute it again in five lines.

A disk of ``size`` bytes is cut into leaves of 1 MiB; the last one may be shorter. With ``||`` for
concatenation::

    leaf(i) = BLAKE3(bytes of leaf i)                                       32 bytes each
    digest  = BLAKE3("coriolis disk 1\\n" || u64le(size) || u64le(1 MiB) || leaf(0) || leaf(1) || ...)

How the bytes came here (holes, zeros, data) makes no difference: a leaf of zeros has the digest of a leaf
of zeros, which is why holes need not be read.
"""

from __future__ import annotations

import functools
import mmap
import re
import struct
from collections.abc import Iterator

import blake3

from coriolis.dataplane.extents import leaf_count, leaf_span
from coriolis.dataplane.types import LEAF_SIZE

DIGEST_SIZE = 32
_DOMAIN = b"coriolis disk 1\n"
_RUN = 4096  # leaves handed to the hash at once

_KNOWN, _ZERO, _DONE, _DOUBT = 1, 2, 4, 8
_SAME = re.compile(rb"(.)\1*", re.DOTALL)
_UNTRUSTED = re.compile(b"[" + b"".join(b"\\x%02x" % v for v in range(16) if not v & _KNOWN or v & _DOUBT) + b"]")


def leaf_digest(data: memoryview | bytes | bytearray) -> bytes:
    """BLAKE3 of one leaf. Releases the GIL and copies nothing."""
    return blake3.blake3(data).digest()


@functools.lru_cache(maxsize=16)
def zero_digest(length: int = LEAF_SIZE) -> bytes:
    """Digest of a leaf of ``length`` zero bytes."""
    return blake3.blake3(bytes(length)).digest()


class LeafTable:
    """Leaf digests of one disk with what this round knows about each leaf. 33 bytes a leaf, touched lazily.

    *known*: the target held this digest at some time. *done*: settled in the running round. *doubt*: the
    target may hold something else than the digest says, since an attempt was cut off near it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = leaf_count(size)
        self._flags = mmap.mmap(-1, max(self.count, 1))
        self._digests = mmap.mmap(-1, max(self.count, 1) * DIGEST_SIZE)

    def get(self, index: int) -> bytes | None:
        """The trusted digest of a leaf, or None."""
        flags = self._flags[index]
        if not flags & _KNOWN or flags & _DOUBT:
            return None
        if flags & _ZERO:
            return zero_digest(leaf_span(index, self.size)[1])
        return self._digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]

    def put(self, index: int, digest: bytes, *, done: bool = True) -> None:
        self._flags[index] = _KNOWN | (_DONE if done else 0)
        self._digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE] = digest

    def put_zero(self, index: int, count: int, *, done: bool = True) -> None:
        flags = _KNOWN | _ZERO | (_DONE if done else 0)
        self._flags[index : index + count] = bytes([flags]) * count

    def is_done(self, index: int) -> bool:
        return bool(self._flags[index] & _DONE)

    def is_zero(self, index: int) -> bool:
        flags = self._flags[index]
        return bool(flags & _ZERO) and not flags & _DOUBT

    def is_known(self, index: int) -> bool:
        return bool(self._flags[index] & _KNOWN) and not self._flags[index] & _DOUBT

    def is_doubtful(self, index: int) -> bool:
        return bool(self._flags[index] & _DOUBT)

    def mostly_doubtful(self) -> bool:
        """True when most of the target may hold anything."""
        flags = self._flags[: self.count]
        return 2 * sum(flags.count(value) for value in range(_DOUBT, 2 * _DOUBT)) > self.count

    def spans(self, index: int, count: int) -> Iterator[tuple[int, int]]:
        """(index, count) pieces of a range, each of leaves about which the same is known."""
        for same in _SAME.finditer(self._flags[index : index + count]):
            yield index + same.start(), same.end() - same.start()

    def is_untouched(self, index: int) -> bool:
        """True while nothing was, or may have been, written to this leaf."""
        return self._flags[index] == 0

    def mark_done(self, index: int, count: int) -> None:
        """Settles leaves as they are (unchanged since the last round)."""
        table = bytes(value | _DONE for value in range(256))
        self._flags[index : index + count] = self._flags[index : index + count].translate(table)

    def new_round(self) -> None:
        """Nothing is done any more; digests stay."""
        keep = bytes(value & ~_DONE for value in range(256))
        self._flags[:] = self._flags[:].translate(keep)

    def doubt(self, stop: int) -> None:
        """Distrusts every leaf before ``stop`` that is not done."""
        table = bytes(value if value & _DONE else value | _DOUBT for value in range(256))
        self._flags[:stop] = self._flags[:stop].translate(table)

    def doubt_one(self, index: int) -> None:
        """Distrusts this leaf, whatever is known of it."""
        self._flags[index] = (self._flags[index] | _DOUBT) & ~_DONE

    def runs(self) -> Iterator[tuple[int, int, bool]]:
        """(index, count, zero) of all trusted leaves; data leaves come one by one."""
        for index, count in self.spans(0, self.count):
            if self.is_known(index):
                if self.is_zero(index):
                    yield index, count, True
                else:
                    yield from ((one, 1, False) for one in range(index, index + count))

    def missing(self) -> int | None:
        """The first leaf without a trusted digest, or None."""
        found = _UNTRUSTED.search(self._flags[: self.count])
        return None if found is None else found.start()

    def root(self) -> bytes:
        """Digest of the whole disk. Every leaf must be known."""
        state = blake3.blake3(_DOMAIN + struct.pack("<QQ", self.size, LEAF_SIZE))
        for start, count in self.spans(0, self.count):
            zero = bool(self._flags[start] & _ZERO)
            for index in range(start, start + count, _RUN):
                stop = min(index + _RUN, start + count)
                if not zero:
                    state.update(self._digests[index * DIGEST_SIZE : stop * DIGEST_SIZE])
                elif stop < self.count:
                    state.update(zero_digest() * (stop - index))
                else:  # the last leaf may be short
                    state.update(zero_digest() * (stop - index - 1))
                    state.update(zero_digest(leaf_span(stop - 1, self.size)[1]))
        return state.digest()

    def close(self) -> None:
        self._flags.close()
        self._digests.close()
