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
_FIRST_LOOK, _LOOK = 4 << 20, 1 << 20  # bytes that are compressed to see what it gives
_FIRST_PAUSE, _LONGEST_PAUSE = 8 << 20, 64 << 20  # bytes until the next look, after one that showed too little
_LEAST_GAIN = 0.03

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
    """Decides per frame. Compression pays when it saves at least 3 % of the bytes, and more time on the wire than it
    takes; both are measured on the stream itself, again and again. ``on`` skips the question of time only."""

    def __init__(self, mode: Mode = "auto", clock: Callable[[], float] = time.perf_counter) -> None:
        self._mode, self._clock = mode, clock
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False)
        self._look = _FIRST_LOOK
        self._pause, self._next_pause = 0, _FIRST_PAUSE
        self._plain = self._wire = 0
        self._packing = 0.0
        self._sending = self._sent = 0.0
        self.saved = 0  # bytes, in all

    @property
    def idle(self) -> bool:
        """Compression is switched off for now."""
        return self._mode == "off" or self._pause > 0

    def pack(self, view: memoryview) -> tuple[int, bytes | memoryview]:
        """(kind, body)."""
        length = view.nbytes
        if self._mode == "off" or length < _SMALL:
            return RAW, view
        if self._pause > 0:
            self._pause -= length
            return RAW, view
        start = self._clock()
        packed = self._zstd.compress(view)
        self._packing += self._clock() - start
        small = len(packed) <= (1 - _LEAST_GAIN) * length
        self._plain += length
        self._wire += len(packed) if small else length
        if self._plain >= self._look:
            self._judge()
        if not small:
            return RAW, view
        self.saved += length - len(packed)
        return ZSTD, packed

    def sent(self, length: int, seconds: float) -> None:
        """So many bytes took so long to send, encryption and waiting for the other side included."""
        self._sending, self._sent = 0.9 * self._sending + seconds, 0.9 * self._sent + length

    def _judge(self) -> None:
        gain = 1 - self._wire / self._plain
        per_byte = self._sending / self._sent if self._sent else 0.0
        pays = self._mode == "on" or self._packing < per_byte * (self._plain - self._wire)
        if gain < _LEAST_GAIN or not pays:
            # The first look is also the least sure: buffers on the way hide for a moment how slow the wire is.
            self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, _LONGEST_PAUSE)
        else:
            self._next_pause = _FIRST_PAUSE
        self._look = _LOOK
        self._plain = self._wire = 0
        self._packing = 0.0


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
