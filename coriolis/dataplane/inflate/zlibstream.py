# SPDX-License-Identifier: Apache-2.0
"""Inflates one zlib stream (RFC 1950) into memory that is there, never beyond it: a bomb has nothing to fill.

By libdeflate where it is installed (Debian: libdeflate0), which takes a third of zlib's time on grains of 64 KiB and
needs no copy; otherwise by Python's zlib. Both check the stream's Adler-32 and let other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from typing import Any

_LIBRARY = "libdeflate.so.0"
_SHORT, _NO_SPACE = 2, 3  # LIBDEFLATE_SHORT_OUTPUT, LIBDEFLATE_INSUFFICIENT_SPACE; 1 is bad data, 0 success


class Corrupt(Exception):
    """The stream is damaged, cut off, or larger than what it may fill."""


class _Libdeflate:
    """One decompressor per thread, since they keep state."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._make = library.libdeflate_alloc_decompressor
        self._make.restype = ctypes.c_void_p
        self._free = library.libdeflate_free_decompressor
        self._free.argtypes = [ctypes.c_void_p]
        self._run = library.libdeflate_zlib_decompress
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._run.argtypes = [pointer, pointer, size, pointer, size, ctypes.POINTER(size)]
        self._local = threading.local()

    def inflate(self, packed: memoryview, into: memoryview) -> int:
        if not packed.nbytes:
            raise Corrupt("it is empty")
        filled = ctypes.c_size_t()
        code = self._run(
            self._decompressor(), _address(packed), packed.nbytes, _address(into), into.nbytes, ctypes.byref(filled)
        )
        if code == _NO_SPACE:
            raise Corrupt(f"it holds more than {into.nbytes} bytes")
        if code:
            raise Corrupt("its compressed data is damaged")
        return filled.value

    def _decompressor(self) -> Any:
        held = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = _Held(self._make(), self._free)
        return held.pointer


class _Held:
    """A decompressor that is freed when its thread is gone."""

    def __init__(self, pointer: int | None, free: Any) -> None:
        if not pointer:
            raise MemoryError("no memory for a decompressor")
        self.pointer, self._release = pointer, free

    def __del__(self) -> None:
        self._release(self.pointer)


class _Zlib:
    def inflate(self, packed: memoryview, into: memoryview) -> int:
        state = zlib.decompressobj()
        try:
            data = state.decompress(packed, into.nbytes + 1)
        except zlib.error as error:
            raise Corrupt(f"its compressed data is damaged ({error})") from None
        if len(data) > into.nbytes:
            raise Corrupt(f"it holds more than {into.nbytes} bytes")
        if not state.eof:
            raise Corrupt("its compressed data is damaged: it does not end")
        into[: len(data)] = data
        return len(data)


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _inflater() -> _Libdeflate | _Zlib:
    try:
        return _Libdeflate(ctypes.CDLL(_LIBRARY))
    except OSError:
        return _Zlib()


INFLATER = _inflater()


def inflate(packed: memoryview, into: memoryview) -> int:
    """Bytes written to ``into``. Both are writable memory. Raises `Corrupt`."""
    return INFLATER.inflate(packed, into)
