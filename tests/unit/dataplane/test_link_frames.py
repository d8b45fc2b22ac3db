# SPDX-License-Identifier: Apache-2.0
"""When compression pays, and that what was packed is unpacked as it was."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.dataplane.link.frames import HEADER, MOST, RAW, ZSTD, BadFrame, Packer, Unpacker, header, parse

TEXT = memoryview(b"what a disk often holds; " * (MOST // 25))
NOISE = memoryview(random.Random(1).randbytes(MOST))
MIB = 1 << 20


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.binary(min_size=1, max_size=20000), st.sampled_from(["auto", "on", "off"]))
def test_what_goes_in_comes_out(data: bytes, mode: str) -> None:
    packer, unpacker = Packer(mode), Unpacker()  # type: ignore[arg-type]
    kind, body = packer.pack(memoryview(data))
    assert parse(header(kind, len(body), len(data))) == (kind, len(body), len(data))
    assert bytes(unpacker.unpack(kind, memoryview(body), len(data))) == data


def feed(packer: Packer, clock: Clock, view: memoryview, mib: int, *, wire: float, packing: float = 0.001) -> int:
    """Bytes on the wire for so many MiB. Seconds per MiB: that passes the wire, and that is compressed."""
    total = 0
    for _ in range(mib * MIB // view.nbytes):
        compresses = packer.compresses
        _, body = packer.pack(view)
        total += len(body)
        clock.now += wire * len(body) / MIB + packing * compresses * view.nbytes / MIB
    return total


def test_noise_is_soon_left_as_it_is() -> None:
    clock = Clock()
    packer = Packer("auto", clock)
    feed(packer, clock, NOISE, 4, wire=1.0)
    assert not packer.compresses
    assert packer.saved == 0


def test_text_stays_compressed_on_a_slow_wire_and_not_on_a_fast_one() -> None:
    for wire, compresses in ((0.02, True), (0.0005, False)):
        clock = Clock()
        packer = Packer("auto", clock)
        feed(packer, clock, TEXT, 40, wire=wire)
        for _ in range(3):
            assert packer.compresses is compresses
            feed(packer, clock, TEXT, 70, wire=wire)


def test_a_stream_that_others_slow_down_is_compressed_for_the_bytes_alone() -> None:
    clock = Clock()
    packer = Packer("auto", clock)
    for _ in range(4 * 64):
        packer.pack(TEXT)
        clock.now += 0.1  # a budget
    assert packer.compresses


def test_it_looks_again_after_a_while() -> None:
    clock = Clock()
    packer = Packer("auto", clock)
    feed(packer, clock, NOISE, 8, wire=0.02)
    assert not packer.compresses
    feed(packer, clock, TEXT, 60, wire=0.02)
    assert packer.compresses
    assert packer.saved > 0


def test_compression_by_order_asks_for_no_time() -> None:
    clock = Clock()
    packer = Packer("on", clock)
    feed(packer, clock, TEXT, 600, wire=0.0001, packing=1.0)
    assert packer.compresses


def test_a_frame_that_grows_goes_as_it_is() -> None:
    packer = Packer("on")
    assert packer.pack(NOISE)[0] == RAW
    assert packer.pack(TEXT)[0] == ZSTD


@pytest.mark.parametrize(
    "bad",
    [
        HEADER.pack(7 << 24 | 5, 5),
        HEADER.pack(RAW << 24 | 5, 6),
        HEADER.pack(ZSTD << 24 | 0, 6),
        HEADER.pack(ZSTD << 24 | 7, 6),
        HEADER.pack(RAW << 24 | MOST + 1, MOST + 1),
        HEADER.pack(ZSTD << 24 | 5, 1 << 31),
    ],
)
def test_impossible_headers_are_refused(bad: bytes) -> None:
    with pytest.raises(BadFrame):
        parse(bad)


def test_a_body_that_is_not_what_its_header_says_is_refused() -> None:
    kind, body = Packer("on").pack(TEXT)
    for wrong, plain in ((bytes(len(body)), TEXT.nbytes), (bytes(body), 100), (bytes(body), TEXT.nbytes + 1)):
        with pytest.raises(BadFrame):
            Unpacker().unpack(kind, memoryview(wrong), plain)
