# SPDX-License-Identifier: Apache-2.0
"""Copying only live data: of real file systems, judged by their own checkers and by every file."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbd
import pytest

from coriolis.dataplane import (
    CopyOptions,
    CopyResult,
    DiskFormat,
    FileSink,
    ImageSource,
    NbdSource,
    copy_disk,
    digest_disk,
    open_sink,
    open_source,
    verify_disk,
)
from coriolis.dataplane.filesystem import FreeMap, find_free, lvm
from tests.integration.dataplane_disks import MIB, run
from tests.integration.filesystem_disks import FILE_SYSTEMS, MISSING, check, make, mounted, partitioned, rubbish
from tests.perf.contest import nbd_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
    pytest.mark.timeout(600),
]
PLAIN = ("ext4", "xfs", "ntfs")
LIVE = CopyOptions(live_only=True)


def look(path: Path) -> FreeMap:
    with open(path, "rb") as file:
        return find_free(lambda offset, length: os.pread(file.fileno(), length, offset), path.stat().st_size)


def copy(source: Path | NbdSource, target: Path, *, options: CopyOptions = LIVE, identity: str = "a") -> CopyResult:
    return copy_disk(
        ImageSource(path=source, identity=identity) if isinstance(source, Path) else source,
        FileSink(path=target),
        journal=target.with_suffix(".journal"),
        epoch=1,
        options=options,
    )


@pytest.mark.parametrize(
    "kind", [kind if kind in PLAIN else pytest.param(kind, marks=pytest.mark.slow) for kind in FILE_SYSTEMS]
)
def test_a_used_file_system_arrives_with_every_file(tmp_path: Path, kind: str) -> None:
    image, out = tmp_path / "disk.raw", tmp_path / "out.raw"
    files = make(image, kind)
    result = copy(image, out)
    (volume,) = result.volumes
    assert volume.reason == ""
    assert volume.kind == kind.split("-")[0].replace("ext2", "ext4").replace("ext3", "ext4")
    needed = sum(len(data) for data in files.values())
    free = image.stat().st_size - needed
    assert volume.free > free * (0.15 if "sparse-super2" in kind else 0.75)
    assert result.bytes_saved == pytest.approx(volume.free, rel=0.02)
    assert result.bytes_read + result.bytes_skipped == result.size
    assert result.bytes_read <= result.size - result.bytes_saved + 8 * MIB
    check(out, kind, files)
    assert out.stat().st_blocks * 512 < result.size - result.bytes_saved + 8 * MIB  # free space is a hole
    assert verify_disk(FileSink(path=out), journal=tmp_path / "out.journal").digest == result.digest
    assert digest_disk(ImageSource(path=out)).digest == result.digest != digest_disk(ImageSource(path=image)).digest


@pytest.mark.parametrize("kind", ["ext4", "ext4-1k", "ext2"])
def test_only_what_dumpe2fs_calls_free(tmp_path: Path, kind: str) -> None:
    image = tmp_path / "disk.raw"
    make(image, kind)
    block = int(run("sh", "-c", f"dumpe2fs -h {image} 2>/dev/null | awk '/^Block size/ {{print $3}}'"))
    free: set[int] = set()
    for line in run("dumpe2fs", str(image)).splitlines():
        if line.startswith("  Free blocks: "):
            for piece in filter(None, line.split(":")[1].strip().split(", ")):
                low, _, high = piece.partition("-")
                free.update(range(int(low), int(high or low) + 1))
    mine = {n for offset, length in look(image) for n in range(offset // block, (offset + length) // block)}
    assert mine <= free
    assert len(mine) > 0.9 * len(free)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "ntfs"])
def test_a_mounted_file_system_is_copied_whole(tmp_path: Path, kind: str) -> None:
    image = tmp_path / "disk.raw"
    make(image, kind)
    if kind == "ntfs":  # ntfs-3g leaves no sign; Windows writes a restart page that names a client of the log
        assert look(image).volumes[0].free
        place = run("ntfsinfo", "-f", "-i", "2", "-v", str(image)).split("LCN")[-1].split()
        cluster = int(place[2], 16)
        page = struct.pack("<4sHHQIIH", b"RSTR", 30, 9, 0, 4096, 4096, 48).ljust(48 + 12, b"\0")
        with open(image, "r+b") as file:
            file.seek(cluster * 4096)
            file.write((page + struct.pack("<HH", 0, 0)).ljust(4096, b"\0"))
        (volume,) = look(image).volumes
    else:
        with mounted(image, kind) as top:
            (top / "new").write_bytes(b"x" * MIB)
            os.sync()
            (volume,) = look(image).volumes
    assert volume.free == 0
    assert "log holds changes" in volume.reason or "journal holds changes" in volume.reason


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_disk_of_many_partitions(tmp_path: Path, label: str) -> None:
    kinds = ["ext4", "xfs", "ntfs"]
    files = {kind: make(tmp_path / kind, kind) for kind in kinds}
    swap = rubbish(tmp_path / "swap", 64 * MIB)
    run("mkswap", "-q", str(swap))
    types = {"gpt": "linux", "dos": "83"}
    parts = [(tmp_path / kind, types[label]) for kind in kinds[:2]]
    disk = tmp_path / "disk.raw"
    offsets = partitioned(disk, label, [*parts, (swap, types[label]), (tmp_path / "ntfs", types[label])])
    result = copy(disk, tmp_path / "out.raw")
    assert [volume.kind for volume in result.volumes] == ["ext4", "xfs", "swap", "ntfs"]
    assert [volume.offset for volume in result.volumes] == offsets
    assert all(volume.free for volume in result.volumes)
    assert result.volumes[2].free == 64 * MIB - 4096
    with open(tmp_path / "out.raw", "rb") as out, open(disk, "rb") as original:
        for kind, offset in zip([*kinds[:2], "swap", "ntfs"], offsets, strict=True):
            out.seek(offset)
            part = tmp_path / f"{kind}.out"
            part.write_bytes(out.read((tmp_path / kind).stat().st_size))
            if kind != "swap":
                check(part, kind, files[kind])
            else:
                original.seek(offset)
                assert part.read_bytes()[:4096] == original.read(4096)
                assert not any(part.read_bytes()[4096:])
                assert "SWAPSPACE" not in run("file", "-b", str(tmp_path / "ext4.out"))
        original.seek(0)
        out.seek(0)
        assert out.read(MIB) == original.read(MIB)  # boot code and table


LVM = 'devices{{filter=["a|^{0}$|","r|.*|"]}}global{{activation=0}}activation{{udev_sync=0 udev_rules=0}}'


def pretend_snapshot(disk: Path) -> None:
    """Changes the type of a segment in the metadata: without device-mapper, LVM makes no snapshots."""
    with open(disk, "r+b") as file:
        data = bytearray(file.read(2 * MIB))
        area = data.index(b" LVM2 x[5A%r0N*>") - 4
        start, _, offset, length = struct.unpack_from("<QQQQ", data, area + 24)
        text = bytes(data[start + offset : start + offset + length])
        changed = text.replace(b'type = "striped"', b'type ="snapshot"', 1)
        assert len(changed) == len(text)
        assert changed != text
        data[start + offset : start + offset + length] = changed
        struct.pack_into("<I", data, area + 56, lvm.crc(changed))
        file.seek(0)
        file.write(data)


@pytest.mark.skipif(shutil.which("lvcreate") is None, reason="needs lvm2")
@pytest.mark.parametrize("snapshot", [False, True])
def test_logical_volumes(tmp_path: Path, snapshot: bool) -> None:
    """Made without device-mapper: a linear volume in two pieces, another between them, swap, and one striped."""
    files = {kind: make(tmp_path / kind, kind) for kind in ("xfs", "ext4")}
    disk = rubbish(tmp_path / "disk.raw", 1100 * MIB)
    loop = run("losetup", "-f", "--show", str(disk)).strip()
    os.environ["LVM_SUPPRESS_FD_WARNINGS"] = "1"
    try:

        def tool(command: str, *arguments: str) -> str:
            return run(command, "--config", LVM.format(loop), *arguments)

        def segments(name: str) -> list[tuple[int, int]]:
            said = tool(
                "lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "seg_pe_ranges", f"vg/{name}"
            ).split()
            spans = [piece.split(":")[1].split("-") for piece in said]
            return [(MIB + int(low) * 4 * MIB, (int(high) + 1 - int(low)) * 4 * MIB) for low, high in spans]

        tool("pvcreate", "-q", "-y", "-ff", loop)
        tool("vgcreate", "-q", "vg", loop)
        create = ("lvcreate", "-q", "-an", "-Zn", "-Wn")
        tool(*create, "-L", "200M", "-n", "root", "vg")
        tool(*create, "-L", "400M", "-n", "data", "vg")
        tool("lvextend", "-q", "-L", "400M", "vg/root")
        for name, kind in (("root", "xfs"), ("data", "ext4")):
            with open(disk, "r+b") as file, open(tmp_path / kind, "rb") as image:
                for offset, length in segments(name):
                    file.seek(offset)
                    file.write(image.read(length))
        assert len(segments("root")) == 2
        places = {name: segments(name) for name in ("root", "data")}
        if snapshot:
            pretend_snapshot(disk)
    finally:
        run("losetup", "-d", loop)
    result = copy(disk, tmp_path / "out.raw")
    if snapshot:
        assert [(volume.kind, volume.free) for volume in result.volumes] == [("lvm", 0)]
        assert "snapshots" in result.volumes[0].reason
        return
    assert sorted(volume.kind for volume in result.volumes) == ["ext4", "xfs"]
    assert result.bytes_saved > 450 * MIB
    for name, kind in (("root", "xfs"), ("data", "ext4")):
        part = tmp_path / f"{kind}.out"
        with open(tmp_path / "out.raw", "rb") as out, open(part, "wb") as whole:
            for offset, length in places[name]:
                out.seek(offset)
                whole.write(out.read(length))
        check(part, kind, files[kind])


def test_a_hibernated_image_in_swap_is_kept(tmp_path: Path) -> None:
    swap = rubbish(tmp_path / "swap", 8 * MIB)
    run("mkswap", "-q", str(swap))
    with open(swap, "r+b") as file:
        file.seek(4096 - 10)
        file.write(b"S1SUSPEND\0")
    assert look(swap).volumes[0].free == 0


def test_page_files_of_ntfs(tmp_path: Path) -> None:
    image, out = tmp_path / "disk.raw", tmp_path / "out.raw"
    files = make(image, "ntfs")
    with mounted(image, "ntfs") as top:
        (top / "pagefile.sys").write_bytes(os.urandom(40 * MIB))
        (top / "folder1" / "pagefile.sys").write_bytes(b"not a page file" * 100_000)
        files["folder1/pagefile.sys"] = b"not a page file" * 100_000
    before = look(image).volumes[0].free
    with mounted(image, "ntfs") as top:
        (top / "pagefile.sys").rename(top / "other.sys")
    assert before - look(image).volumes[0].free == pytest.approx(40 * MIB, abs=MIB)
    with mounted(image, "ntfs") as top:
        (top / "other.sys").rename(top / "PAGEFILE.SYS")
    copy(image, out)
    files["PAGEFILE.SYS"] = bytes(40 * MIB)
    check(out, "ntfs", files)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "ntfs"])
def test_rounds(tmp_path: Path, kind: str) -> None:
    """What was written and deleted between two rounds."""
    image, out = tmp_path / "disk.raw", tmp_path / "out.raw"
    files = make(image, kind)
    copy(image, out, identity="1")
    with mounted(image, kind) as top:
        for name in list(files)[::2]:
            (top / name).unlink()
            del files[name]
        for number in range(20):
            files[f"folder0/new{number}"] = os.urandom(MIB)
            (top / f"folder0/new{number}").write_bytes(files[f"folder0/new{number}"])
    result = copy(image, out, identity="2")
    assert result.mode == "compare"
    assert result.round == 2
    assert 20 * MIB <= result.bytes_written < 60 * MIB
    check(out, kind, files)
    assert verify_disk(FileSink(path=out), journal=out.with_suffix(".journal")).digest == result.digest
    whole = copy(image, out, identity="3", options=CopyOptions())  # switched off: the old bytes come, too
    assert whole.bytes_saved == whole.bytes_left_out == 0
    assert digest_disk(ImageSource(path=image)).digest == whole.digest == digest_disk(ImageSource(path=out)).digest


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_round_by_dirty_bitmap(tmp_path: Path, kind: str) -> None:
    """What was written to space that is free by now is left out, too; what did not change stays as it is."""
    raw, image, out = tmp_path / "disk.raw", tmp_path / "disk.qcow2", tmp_path / "out.raw"
    files = make(raw, kind)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    run("qemu-img", "bitmap", "--add", "-g", "65536", str(image), "b1")
    with exported(image, bitmap=None) as uri:
        first = copy(NbdSource(uri=uri, identity="1"), out)
    assert (first.mode, first.bytes_saved > 200 * MIB) == ("full", True)
    assert first.bytes_left_out == first.bytes_saved
    before = raw.read_bytes()
    with mounted(raw, kind) as top:
        for number in range(8):
            files[f"folder0/new{number}"] = os.urandom(MIB)
            (top / f"folder0/new{number}").write_bytes(files[f"folder0/new{number}"])
        (top / "gone").write_bytes(os.urandom(24 * MIB))
        os.sync()
        (top / "gone").unlink()
    changed = write_what_differs(image, before, raw.read_bytes())
    with exported(image, bitmap="b1") as uri:
        source = NbdSource(uri=uri, identity="2", bitmap="b1", base_identity="1")
        second = copy(source, out)
    assert (second.mode, second.round) == ("dirty", 2)
    assert changed > 32 * MIB
    assert second.bytes_saved > 20 * MIB
    assert second.bytes_read < changed - second.bytes_saved + MIB
    assert second.bytes_left_out == first.bytes_left_out + second.bytes_saved
    check(out, kind, files)
    assert verify_disk(FileSink(path=out), journal=out.with_suffix(".journal")).digest == second.digest
    with exported(image, bitmap="b1") as uri:
        again = copy(NbdSource(uri=uri, identity="2"), out)
    assert (again.mode, again.bytes_saved, again.bytes_left_out) == ("done", 0, second.bytes_left_out)


@contextmanager
def exported(image: Path, *, bitmap: str | None) -> Iterator[str]:
    with nbd_server(image, format="qcow2", options=["-B", bitmap] if bitmap else []) as (uri, _):
        yield uri


def write_what_differs(image: Path, before: bytes, after: bytes) -> int:
    """As the guest of a QCOW2 would have; gives the bytes."""
    places = [at for at in range(0, len(after), 65536) if before[at : at + 65536] != after[at : at + 65536]]
    with open_sink(FileSink(path=image, format=DiskFormat.QCOW2, create=False)) as export:  # it ends well
        handle = nbd.NBD()
        handle.connect_uri(export.uri)
        for at in places:
            handle.pwrite(after[at : at + 65536], at)
        handle.flush()
        handle.shutdown()
    return len(places) * 65536


@pytest.mark.parametrize("format", ["qcow2", "vmdk"])
def test_through_a_server(tmp_path: Path, format: str) -> None:
    image, out = tmp_path / "disk.raw", tmp_path / "out.raw"
    files = make(image, "xfs")
    other = tmp_path / f"disk.{format}"
    run("qemu-img", "convert", "-O", format, str(image), str(other))
    with open_source(ImageSource(path=other, format=DiskFormat(format))) as source:
        result = copy(source, out)
    assert result.bytes_saved > 200 * MIB
    check(out, "xfs", files)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "ntfs"])
def test_damaged_metadata_is_never_believed(tmp_path: Path, kind: str) -> None:
    """Random bytes in the first blocks: whatever happens, no error leaves, and what is called free stays inside."""
    image = tmp_path / "disk.raw"
    make(image, kind, 320 * MIB)
    original = image.read_bytes()
    rng = random.Random(5)
    for _ in range(60):
        data = bytearray(original[: 2 * MIB])
        for _ in range(rng.randrange(1, 30)):
            data[rng.choice((rng.randrange(4096), rng.randrange(len(data))))] = rng.randrange(256)
        view = bytes(data)

        def read(offset: int, length: int, view: bytes = view) -> bytes:
            return view[offset : offset + length] + original[max(offset, len(view)) : offset + length]

        found = find_free(read, len(original))
        assert all(0 <= offset < offset + length <= len(original) for offset, length in found)


def test_a_wrong_count_of_free_blocks(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    make(image, "ext4")
    run("debugfs", "-w", "-R", "set_bg 1 free_blocks_count 7", str(image))
    (volume,) = look(image).volumes
    assert volume.free == 0
    assert "contradicts" in volume.reason


def test_a_disk_without_anything_known(tmp_path: Path) -> None:
    disk = rubbish(tmp_path / "disk.raw", 8 * MIB)
    result = copy(disk, tmp_path / "out")
    assert result.volumes[0].kind == ""
    assert result.bytes_saved == 0
    assert (tmp_path / "out").read_bytes() == disk.read_bytes()
    assert subprocess.run(["cmp", disk, tmp_path / "out"], check=False).returncode == 0
