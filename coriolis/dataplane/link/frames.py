# SPDX-License-Identifier: Apache-2.0
"""How a stream of bytes passes a link: in frames, each as it is or compressed, whichever pays.

A frame is a header of 8 bytes (1: zstd or 0, 3: length on the wire, 4: length before compression) and its body.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Literal

import zstandard

MOST = 256 << 10  # bytes of one frame before compression
HEADER = struct.Struct(">II")
RAW, ZSTD = 0, 1

_LEVEL = 1
_SMALL = 4 << 10  # not worth a look
_LOOK = 2 << 20  # bytes that are compressed to see what it saves
_TRIAL = 16 << 20  # bytes in which a mode shows how fast it is; what is under way from before passes in the first half
_HOLD = 256 << 20  # bytes for which the faster mode is kept
_FIRST_PAUSE, _LONGEST_PAUSE = 8 << 20, 64 << 20  # bytes until the next look, after one that saved too little
_LEAST_GAIN = 0.03
_SLOWER = 0.97  # of the other mode's speed: as fast, as far as can be told

Mode = Literal["auto", "on", "off"]


class BadFrame(Exception):
    """The other side does not speak frames."""


def header(kind: int, wire: int, plain: int) -> bytes:
    return HEADER.pack(kind << 24 | wire, plain)


def parse(data: bytes | bytearray | memoryview) -> tuple[int, int, int]:
    """(kind, length on the wire, length before compression). :raises BadFrame: beyond what a frame may be"""
    first, plain = HEADER.unpack(data)
    kind, wire = first >> 24, first & 0xFFFFFF
    if kind not in (RAW, ZSTD) or not 0 < wire <= plain or plain > MOST or (kind == RAW and wire != plain):
        raise BadFrame(f"a frame of kind {kind} with {wire} bytes for {plain}")
    return kind, wire, plain


class Packer:
    """Decides per frame. Compression pays while it saves at least 3 % of the bytes and the stream is no slower for it.
    Both are measured on the stream itself, again and again: what it saves on some frames, and how long as many bytes
    take with it and without. The latter is the only measure that sees all that may be slow, the wire and the processors
    of both sides. ``on`` asks for the bytes only.
    """

    def __init__(self, mode: Mode = "auto", clock: Callable[[], float] = time.monotonic) -> None:
        self._mode, self._clock = mode, clock
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False)
        self.saved = 0  # bytes, in all
        self._pause = _FIRST_PAUSE
        self._rates: dict[bool, float] = {}
        self._begin(compress=mode != "off", length=_TRIAL)

    def _begin(self, *, compress: bool, length: int) -> None:
        """A stretch of so many bytes in one mode."""
        self.compresses = compress
        self._length, self._passed = length, 0
        self._plain = self._wire = 0
        self._start: tuple[float, int] | None = None

    def pack(self, view: memoryview) -> tuple[int, bytes | memoryview]:
        """(kind, body)."""
        length = view.nbytes
        if self._mode == "off" or length < _SMALL:
            return RAW, view
        self._pass(length)
        if not self.compresses:
            return RAW, view
        packed = self._zstd.compress(view)
        small = len(packed) <= (1 - _LEAST_GAIN) * length
        self._plain += length
        self._wire += len(packed) if small else length
        if not small:
            return RAW, view
        self.saved += length - len(packed)
        return ZSTD, packed

    def _pass(self, length: int) -> None:
        """Ends the stretch when it is long enough, or shows that nothing is saved."""
        if self.compresses and self._plain >= _LOOK and self._wire > (1 - _LEAST_GAIN) * self._plain:
            self._rates.clear()
            self._begin(compress=False, length=self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        elif self._passed >= self._length:
            self._turn()
        self._passed += length
        if self._start is None and self._passed >= _TRIAL // 2:
            self._start = self._clock(), self._passed

    def _turn(self) -> None:
        if self._mode == "on":
            self._begin(compress=True, length=_HOLD)
            return
        if self._length == _TRIAL and self._start is not None:
            since, before = self._start
            self._rates[self.compresses] = (self._passed - before) / max(self._clock() - since, 1e-9)
        if len(self._rates) == 2:
            pays = self._rates[True] >= _SLOWER * self._rates[False]
            self._rates.clear()
            self._pause = _FIRST_PAUSE
            self._begin(compress=pays, length=_HOLD)
        else:
            self._begin(compress=True not in self._rates, length=_TRIAL)


class Unpacker:
    """The body of a frame as it was."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def unpack(self, kind: int, body: memoryview, plain: int) -> bytes | memoryview:
        """:raises BadFrame: it is not what its header says"""
        if kind == RAW:
            return body
        try:
            data = self._zstd.decompress(body, max_output_size=plain)
        except zstandard.ZstdError as error:
            raise BadFrame(str(error)) from None
        if len(data) != plain:
            raise BadFrame(f"{len(data)} bytes instead of {plain}")
        return data
