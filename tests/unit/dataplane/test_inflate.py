# SPDX-License-Identifier: Apache-2.0
"""Stream-optimized VMDKs read by us: as they were written, and refused where they lie."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import shutil
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coriolis.dataplane import DiskFormat, InvalidImage, Kind, SourceShrank, UnsafeImage, inspect_image
from coriolis.dataplane.image import open_image
from coriolis.dataplane.inflate import StreamReader, stream_reader, zlibstream
from tests.unit.dataplane.stream_vmdk import SECTOR, Stream, entry, footer, tables

GRAIN = 64 << 10
SIZE = 40 * GRAIN + 3 * SECTOR  # the last grain is not whole
BOMB = zlib.compress(bytes(64 << 20))
GONE = 1 << 24  # a sector beyond every file here


def disk(seed: int = 1) -> bytes:
    rng = random.Random(seed)
    parts = [rng.choice((bytes(GRAIN), rng.randbytes(GRAIN), b"coriolis" * (GRAIN // 8))) for _ in range(41)]
    return b"".join([*parts[:40], rng.randbytes(GRAIN)])[:SIZE]


@pytest.fixture(scope="module")
def content() -> bytes:
    return disk()


@pytest.fixture(scope="module")
def written(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Stream(entries=16).write(tmp_path_factory.mktemp("stream") / "disk.vmdk", content)


@pytest.fixture
def image(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "disk.vmdk"))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[StreamReader]:
    with open_image(path) as opened:
        reader = stream_reader(opened.files[0])
        assert reader is not None
        yield reader


def whole(reader: StreamReader, step: int = 1 << 20) -> bytes:
    result = bytearray(reader.size)
    for at in range(0, reader.size, step):
        reader.read(memoryview(result)[at : at + step], at)
    return bytes(result)


def test_every_byte_and_every_hole(image: Path, content: bytes) -> None:
    with reading(image) as reader:
        extents = list(reader.extents())
        assert sum(extent.length for extent in extents) == reader.size == SIZE
        for extent in extents:
            assert (extent.kind is Kind.ZERO) == (not any(content[extent.offset : extent.end]))
        assert whole(reader) == content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, SIZE - 1), length=st.integers(1, 5 * GRAIN))
def test_any_part(image: Path, content: bytes, offset: int, length: int) -> None:
    with reading(image) as reader:
        part = bytearray(min(length, SIZE - offset))
        reader.read(memoryview(part), offset)
        assert part == content[offset : offset + length]


def test_threads_do_not_disturb_each_other(image: Path, content: bytes) -> None:
    with reading(image) as reader, concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: whole(reader, 7 * GRAIN), range(24))) == {content}


@pytest.mark.parametrize("grain", [4 << 10, 64 << 10, 1 << 20])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_sizes_of_grains_and_levels(tmp_path: Path, grain: int, level: int, content: bytes) -> None:
    stream = Stream(grain=grain, entries=64, pack=lambda data: zlib.compress(data, level))
    with reading(stream.write(tmp_path / "disk.vmdk", content)) as reader:
        assert whole(reader) == content


def test_grains_in_any_order_of_the_file(image: Path, content: bytes) -> None:
    data = bytearray(image.read_bytes())
    number = next(i for i in range(16) if entry(image, i) > 1)
    at = entry(image, number) * SECTOR
    body = data[at : at + 70 * 1024]
    head, tail = data[: -3 * SECTOR], data[-3 * SECTOR :]  # the tail: footer and end
    place = -(-len(head) // SECTOR) * SECTOR
    image.write_bytes(head.ljust(place, b"\0") + body.ljust(71 * 1024, b"\0") + tail)
    entry(image, number, place // SECTOR)
    with reading(image) as reader:
        assert whole(reader) == content


def test_a_grain_marked_as_zeros(image: Path, content: bytes) -> None:
    number = next(i for i in range(16) if entry(image, i) > 1)
    entry(image, number, 1)
    with reading(image) as reader:
        found = whole(reader)
    assert found[: number * GRAIN] == content[: number * GRAIN]
    assert not any(found[number * GRAIN : (number + 1) * GRAIN])


@pytest.mark.parametrize("inflater", ["library", "zlib"])
@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (lambda data: zlib.compress(data)[:-7], "damaged"),
        (lambda data: zlib.compress(data)[:-4] + b"\1\2\3\4", "damaged"),
        (lambda data: b"\xff" * 300, "damaged"),
        (lambda data: zlib.compress(data + b"x"), "holds more than 65536 bytes"),
        (lambda data: BOMB, "holds more than 65536 bytes"),
        (lambda data: zlib.compress(data[:100]), "has 100 bytes instead of 65536"),
    ],
    ids=["cut", "checksum", "rubbish", "one-more", "bomb", "short"],
)
def test_a_grain_that_is_not_one(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, inflater: str, pack: object, words: str
) -> None:
    if inflater == "zlib":
        monkeypatch.setattr(zlibstream, "INFLATER", zlibstream._Zlib())
    path = Stream(pack=pack).write(tmp_path / "disk.vmdk", content)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        with reading(path) as reader, pytest.raises(InvalidImage, match=words):
            whole(reader)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [0, GONE, (1 << 32) - 1, 3 * GRAIN])
def test_a_marker_with_an_impossible_length(tmp_path: Path, content: bytes, length: int) -> None:
    path = Stream(length=lambda _: length).write(tmp_path / "disk.vmdk", content)
    with reading(path) as reader, pytest.raises(InvalidImage, match="claims"):
        whole(reader)


def test_a_grain_that_runs_into_the_next(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(16 * GRAIN)
    path = Stream(length=lambda length: length + 2000).write(tmp_path / "disk.vmdk", content)
    with reading(path) as reader, pytest.raises(InvalidImage, match="runs into"):
        whole(reader)


def test_markers_that_name_another_place(tmp_path: Path, content: bytes) -> None:
    path = Stream(sector=lambda sector: sector ^ 128).write(tmp_path / "disk.vmdk", content)
    with reading(path) as reader, pytest.raises(InvalidImage, match="its marker says"):
        whole(reader)


def test_two_places_for_one_grain(image: Path) -> None:
    one, two = [i for i in range(16) if entry(image, i) > 1][:2]
    entry(image, two, entry(image, one))
    with reading(image) as reader, pytest.raises(InvalidImage, match="its marker says"):
        whole(reader)


def test_a_directory_that_names_one_table_again_and_again(tmp_path: Path, content: bytes) -> None:
    path = Stream(entries=16).write(tmp_path / "disk.vmdk", content)
    data = bytearray(path.read_bytes())
    first = tables(path)[0] // SECTOR
    at = next(i for i in range(len(data) - 12, 0, -4) if int.from_bytes(data[i : i + 4], "little") == first)
    data[at : at + 12] = first.to_bytes(4, "little") * 3
    path.write_bytes(data)
    assert set(tables(path)) == {first * SECTOR}
    with reading(path) as reader, pytest.raises(InvalidImage, match="its marker says"):
        whole(reader)


def test_a_table_that_is_data(image: Path) -> None:
    first = next(i for i in range(16) if entry(image, i) > 1)
    entry(image, first, tables(image)[0] // SECTOR)  # a grain that is the table itself
    with reading(image) as reader, pytest.raises(InvalidImage):
        whole(reader)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capacity": 1 << 40}, "64 TiB|descriptor says"),
        ({"grain": 0}, "impossible grain size"),
        ({"grain": 1 << 40}, "impossible grain size"),
        ({"entries": 0}, "table size"),
        ({"entries": 1 << 30}, "table size"),
        ({"directory": GONE}, "truncated"),
        ({"directory": (1 << 64) - 1}, "no footer"),
        ({"directory": (1 << 63) - 1}, "truncated"),
    ],
)
def test_a_footer_that_lies(image: Path, changes: dict[str, int], words: str) -> None:
    footer(image, **changes)
    with pytest.raises(InvalidImage, match=words), reading(image) as reader:
        whole(reader)


def test_a_descriptor_that_lies(tmp_path: Path, content: bytes) -> None:
    path = Stream(promised=1 << 30).write(tmp_path / "disk.vmdk", content)
    with pytest.raises(UnsafeImage, match="one of them lies"), reading(path):
        pass


@pytest.mark.parametrize("value", [GONE, (1 << 32) - 1])
def test_a_grain_beyond_the_end(image: Path, value: int) -> None:
    entry(image, 3, value)
    with pytest.raises(InvalidImage, match="truncated"), reading(image):
        pass


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 0.999))
def test_truncated_anywhere(image: Path, tmp_path: Path, keep: float) -> None:
    copy = Path(shutil.copy(image, tmp_path / "cut.vmdk"))
    os.truncate(copy, int(image.stat().st_size * keep))
    with pytest.raises(InvalidImage):
        inspect_image(copy, format=DiskFormat.VMDK)


def test_a_file_that_shrinks_while_it_is_read(image: Path) -> None:
    with reading(image) as reader:
        os.truncate(image, 30 * SECTOR)
        with pytest.raises((SourceShrank, InvalidImage), match=r"truncated|ended"):
            whole(reader)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_never_do_more_than_change_or_fail(image: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(image.read_bytes())
    path, end = tmp_path / "flipped.vmdk", len(content) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0, end), st.integers(end - 9 * SECTOR, end)))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(InvalidImage), open_image(path) as opened:
        reader = stream_reader(opened.files[0])
        if reader is not None and reader.size <= 4 * SIZE:
            whole(reader)


def test_what_is_not_stream_optimized_is_not_ours(image: Path) -> None:
    footer(image, compression=2)
    with open_image(image) as opened:
        assert stream_reader(opened.files[0]) is None
