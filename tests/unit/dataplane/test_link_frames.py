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
    """Moves on by so much at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@given(st.binary(min_size=1, max_size=20000), st.sampled_from(["auto", "on", "off"]))
def test_what_goes_in_comes_out(data: bytes, mode: str) -> None:
    packer, unpacker = Packer(mode), Unpacker()  # type: ignore[arg-type]
    kind, body = packer.pack(memoryview(data))
    assert parse(header(kind, len(body), len(data))) == (kind, len(body), len(data))
    assert bytes(unpacker.unpack(kind, memoryview(body), len(data))) == data


def feed(packer: Packer, view: memoryview, mib: int, *, seconds_per_mib: float) -> int:
    """Bytes on the wire for so many MiB of frames."""
    wire = 0
    for _ in range(mib * MIB // view.nbytes):
        _, body = packer.pack(view)
        wire += len(body)
        packer.sent(len(body), seconds_per_mib * len(body) / MIB)
    return wire


def test_noise_is_soon_left_as_it_is() -> None:
    packer = Packer("on", Clock(1e-4))
    feed(packer, NOISE, 16, seconds_per_mib=1.0)
    assert packer.idle
    assert packer.saved == 0


def test_text_stays_compressed_on_a_slow_wire_and_not_on_a_fast_one() -> None:
    slow, fast = Packer("auto", Clock(1e-4)), Packer("auto", Clock(1e-3))
    feed(slow, TEXT, 8, seconds_per_mib=0.1)
    assert not slow.idle
    assert feed(slow, TEXT, 64, seconds_per_mib=0.1) < 6 * MIB
    feed(fast, TEXT, 8, seconds_per_mib=1e-4)
    assert fast.idle


def test_it_looks_again_after_a_while() -> None:
    packer = Packer("on", Clock(1e-4))
    feed(packer, NOISE, 8, seconds_per_mib=0.1)
    assert packer.idle
    feed(packer, TEXT, 70, seconds_per_mib=0.1)
    assert not packer.idle
    assert packer.saved > 0


def test_a_frame_that_grows_goes_as_it_is() -> None:
    packer = Packer("on", Clock(1e-4))
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
