# SPDX-License-Identifier: Apache-2.0
"""Tars that are OVAs, and tars that are not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.api import Invalid
from coriolis.providers.ova import archive
from tests import ovf_packages as build

BIG = 40 << 20


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, size
    return entry


def test_members_are_where_the_index_says(tmp_path: Path) -> None:
    files = {"a.ovf": b"descriptor", "./disk.vmdk": b"d" * 1000, "b": b""}
    path = build.pack(tmp_path / "x.ova", files)
    found = archive.index(path)
    assert list(found) == ["a.ovf", "disk.vmdk", "b"]
    for name, data in files.items():
        assert found[name.removeprefix("./")].read(1 << 20) == data


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_dialect(tmp_path: Path, format_: int) -> None:
    name = "folder/" + "x" * 90
    with tarfile.open(tmp_path / "x.ova", "w", format=format_) as tar:
        tar.addfile(member("folder", tarfile.DIRTYPE))
        tar.addfile(member(name, size=4), io.BytesIO(b"data"))
    assert archive.index(tmp_path / "x.ova")[name].read(4) == b"data"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (member("../evil"), "outside"),
        (member("/etc/passwd"), "outside"),
        (member("a/../../b"), "outside"),
        (member("disk.vmdk", tarfile.SYMTYPE, "/etc/shadow"), "link"),
        (member("disk.vmdk", tarfile.LNKTYPE, "a.ovf"), "link"),
        (member("disk.vmdk", tarfile.CHRTYPE), "special"),
        (member("disk.vmdk", tarfile.FIFOTYPE), "special"),
        (member("a.ovf"), "two members"),
    ],
)
def test_members_that_have_no_place(tmp_path: Path, entry: tarfile.TarInfo, words: str) -> None:
    path = build.pack(tmp_path / "x.ova", [(member("a.ovf"), b""), (entry, b"")])
    with pytest.raises(Invalid, match=words):
        archive.index(path)


def test_sparse_members(tmp_path: Path) -> None:
    """GNU tar's sparse files have holes that are not in the archive: the bytes cannot be read in place."""
    header = bytearray(member("disk.raw", size=512).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386 : 386 + 24] = b"00000000000\0" + b"00000001000\0"
    header[483:495] = b"00000010000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "x.ova"
    path.write_bytes(bytes(header) + b"x" * 512 + bytes(1024))
    with pytest.raises(Invalid, match="sparse"):
        archive.index(path)


@pytest.mark.parametrize("keep", [0, 100, 511, 512, 1024, 1500, 3000])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = build.pack(tmp_path / "x.ova", {"a.ovf": b"x" * 4000})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Invalid, match=r"x\.ova"):
        archive.index(path)


def test_a_header_that_wants_all_memory(tmp_path: Path) -> None:
    """A long-name record of 40 MiB: tarfile would read it whole."""
    path = tmp_path / "x.ova"
    with path.open("wb") as file:
        file.write(member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=BIG).tobuf(tarfile.GNU_FORMAT))
        file.truncate(BIG + 4096)
    with pytest.raises(Invalid, match="absurd"):
        archive.index(path)


def test_too_many_members(tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    with path.open("wb") as file:
        for number in range(5000):
            file.write(member(f"{number}").tobuf())
    with pytest.raises(Invalid, match="more than"):
        archive.index(path)


def test_negative_and_huge_sizes(tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    for size in (1 << 62, (1 << 63) + 1):
        path.write_bytes(member("a.ovf", size=size).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(Invalid):
            archive.index(path)


@given(st.data())
def test_damaged_headers_are_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = build.pack(tmp_path_factory.mktemp("t") / "x.ova", {"a.ovf": b"x" * 700, "b.vmdk": b"y" * 100})
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, 2047))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(body))
    try:
        found = archive.index(path)
    except Invalid:
        return
    for window in found.values():
        assert window.offset + window.length <= len(body)
