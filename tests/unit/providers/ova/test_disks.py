# SPDX-License-Identifier: Apache-2.0
"""The bytes of disks in every packing, and files that change under our hands."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coriolis.dataplane import CopyOptions, DiskFormat, FileSink, Progress, SourceError, copy_disk
from coriolis.providers.api import Conflict, Context, Instance, Invalid, Snapshot, from_json, to_json
from coriolis.providers.contract import Recorder
from coriolis.providers.ova import disks
from coriolis.providers.ova.connection import OvaConnection
from tests import ovf_packages as build

DATA = build.content(4 << 20)

Connect = Callable[[Path], OvaConnection]
Read = Callable[[OvaConnection, Snapshot, str], bytes]


@pytest.fixture(scope="module")
def vmdk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build.vmdk(tmp_path_factory.mktemp("vmdk") / "disk.vmdk", DATA).read_bytes()


def taken(connection: OvaConnection, context: Context, name: str = "web") -> tuple[Instance, Snapshot]:
    instance = connection.inventory.get_instance({}, name, context)
    return instance, connection.snapshots.create(instance, None, "key", {}, context)


def test_in_place_from_an_ova(tmp_path: Path, connect: Connect, context: Context, read_disk: Read) -> None:
    connection = connect(build.ova(tmp_path / "web.ova", DATA))
    _, snapshot = taken(connection, context)
    assert read_disk(connection, from_json(Snapshot, to_json(snapshot)), "vmdisk1") == DATA
    assert not list(context.scratch.iterdir()), "nothing is unpacked"


@pytest.mark.parametrize(
    ("name", "format_", "options"),
    [
        ("d.vmdk", "vmdk", "subformat=monolithicSparse"),
        ("d.vmdk", "vmdk", "subformat=monolithicFlat"),
        ("d.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"),
        ("d.vmdk", "vmdk", "subformat=streamOptimized"),
        ("d.vhd", "vpc", "force_size=on"),
        ("d.vhdx", "vhdx", ""),
        ("d.qcow2", "qcow2", "cluster_size=4096"),
        ("d.img", "qcow2", ""),
        ("d.img", "raw", ""),
        ("d.raw", "raw", ""),
    ],
)
def test_bare_images(
    tmp_path: Path, connect: Connect, context: Context, read_disk: Read, name: str, format_: str, options: str
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    build.image(folder / name, DATA, format_, options)
    for path in (folder, folder / name):
        connection = connect(path)
        listed = connection.inventory.list_instances({}, marker=None, limit=None, name=None, context=context)
        assert [(summary.id, summary.name) for summary in listed] == [(name, "d")]
        instance, snapshot = taken(connection, context, "d")
        assert [(disk.id, disk.size_bytes) for disk in instance.devices.disks] == [(name, len(DATA))]
        assert read_disk(connection, snapshot, name) == DATA


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("packing", ["gzip", "chunks", "gzip and chunks"])
def test_packed_disks(
    tmp_path: Path,
    connect: Connect,
    context: Context,
    recorder: Recorder,
    read_disk: Read,
    vmdk: bytes,
    packing: str,
    archived: bool,
) -> None:
    body = gzip.compress(vmdk) if "gzip" in packing else vmdk
    more = f'ovf:size="{len(body)}"' + (' ovf:compression="gzip"' if "gzip" in packing else "")
    files = {"web-disk1.vmdk": body}
    if "chunks" in packing:
        step = len(body) // 3
        more += f' ovf:chunkSize="{step}"'
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        files = {f"web-disk1.vmdk.{number:09d}": piece for number, piece in enumerate(pieces)}
    files = {"web.ovf": build.descriptor(files=build.file(more=more)), **files}
    connection = connect(place(tmp_path, files, archived))
    instance, snapshot = taken(connection, context)
    assert read_disk(connection, snapshot, "vmdisk1") == DATA
    assert recorder.progress[-1][0] == "unpack"
    concerns = [concern.code for concern in connection.planning.check_source(instance, {}, context)]
    assert "ova.unpacked" in concerns


def place(folder: Path, files: dict[str, bytes], archived: bool) -> Path:
    if archived:
        return build.pack(folder / "web.ova", files)
    (folder / "web").mkdir()
    for name, data in files.items():
        (folder / "web" / name).write_bytes(data)
    return folder / "web"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda body: body[: len(body) // 2], "truncated"),
        (lambda body: b"no gzip" + body, "gzip"),
        (lambda body: gzip.compress(bytes(80 << 20)), "more than"),
    ],
)
def test_damaged_gzip(
    tmp_path: Path,
    connect: Connect,
    context: Context,
    read_disk: Read,
    vmdk: bytes,
    damage: Callable[[bytes], bytes],
    words: str,
) -> None:
    described = build.descriptor(files=build.file(more='ovf:compression="gzip"'))
    path = build.pack(tmp_path / "web.ova", {"web.ovf": described, "web-disk1.vmdk": damage(gzip.compress(vmdk))})
    connection = connect(path)
    _, snapshot = taken(connection, context)
    with pytest.raises(Invalid, match=words):
        read_disk(connection, snapshot, "vmdisk1")


def test_a_missing_chunk(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    more = f'ovf:chunkSize="1000" ovf:size="{len(vmdk)}"'
    files = {"web.ovf": build.descriptor(files=build.file(more=more))}
    files |= {f"web-disk1.vmdk.{number:09d}": vmdk[number * 1000 :][:1000] for number in (0, 1, 3)}
    with pytest.raises(Invalid, match="its descriptor says"):
        taken(connect(build.pack(tmp_path / "web.ova", files)), context)


def test_a_packed_disk_of_another_size_than_described(
    tmp_path: Path, connect: Connect, context: Context, read_disk: Read, vmdk: bytes
) -> None:
    described = build.descriptor(files=build.file(more='ovf:compression="gzip"'), disks=build.disk(capacity=5))
    path = build.pack(tmp_path / "web.ova", {"web.ovf": described, "web-disk1.vmdk": gzip.compress(vmdk)})
    connection = connect(path)
    _, snapshot = taken(connection, context)
    with pytest.raises(Invalid, match="the descriptor says"):
        read_disk(connection, snapshot, "vmdisk1")


def test_an_empty_disk(tmp_path: Path, connect: Connect, context: Context, read_disk: Read) -> None:
    path = build.pack(tmp_path / "web.ova", {"web.ovf": build.descriptor(files="", disks=build.disk(file=None))})
    connection = connect(path)
    instance, snapshot = taken(connection, context)
    assert instance.devices.disks[0].size_bytes == 4 << 20
    assert read_disk(connection, snapshot, "vmdisk1") == bytes(4 << 20)


def test_the_image_knows_its_size_better(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    files = {"web.ovf": build.descriptor(disks=build.disk(capacity=3)), "web-disk1.vmdk": vmdk}
    instance, snapshot = taken(connect(build.pack(tmp_path / "web.ova", files)), context)
    assert instance.devices.disks[0].size_bytes == snapshot.disks[0].size_bytes == len(DATA)


def test_a_format_that_is_not_the_described_one(tmp_path: Path, connect: Connect, context: Context) -> None:
    body = build.image(tmp_path / "d", DATA, "qcow2").read_bytes()
    path = build.pack(tmp_path / "web.ova", {"web.ovf": build.descriptor(), "web-disk1.vmdk": body})
    with pytest.raises(Invalid, match="vmdk"):
        taken(connect(path), context)


class TestChanges:
    """A file that is not what it was at the snapshot."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return build.ova(tmp_path / "web.ova", DATA)

    def test_before_reading(self, path: Path, connect: Connect, context: Context) -> None:
        connection = connect(path)
        _, snapshot = taken(connection, context)
        build.ova(path, DATA)
        with pytest.raises(Conflict, match="changed"):
            with connection.read_blocks.open_source(snapshot, "vmdisk1", context):
                pass

    def test_while_reading(self, path: Path, connect: Connect, context: Context) -> None:
        connection = connect(path)
        _, snapshot = taken(connection, context)
        with pytest.raises(Conflict, match="changed"):
            with connection.read_blocks.open_source(snapshot, "vmdisk1", context):
                os.truncate(path, path.stat().st_size - 512)

    def test_removed(self, path: Path, connect: Connect, context: Context) -> None:
        connection = connect(path)
        _, snapshot = taken(connection, context)
        path.unlink()
        with pytest.raises(Conflict):
            with connection.read_blocks.open_source(snapshot, "vmdisk1", context):
                pass

    def test_while_the_engine_copies(self, tmp_path: Path, connect: Connect, context: Context) -> None:
        """The source shrinks under a running copy: a typed error, in a short time."""
        path = tmp_path / "disk.raw"
        path.write_bytes(build.content(1 << 20) * 48)
        connection = connect(path)
        _, snapshot = taken(connection, context, "disk")
        told: list[int] = []

        def shrink(now: Progress) -> None:
            told.append(now.done)
            os.truncate(path, 4096)

        def copy() -> None:
            with connection.read_blocks.open_source(snapshot, "disk.raw", context) as source:
                target = FileSink(path=tmp_path / "target.raw")
                options = CopyOptions(requests=1, progress_seconds=0.0)
                copy_disk(source, target, journal=tmp_path / "journal", epoch=1, options=options, progress=shrink)

        with pytest.raises(Conflict, match="changed") as caught:
            copy()
        assert told
        assert isinstance(caught.value.__context__, SourceError)

    def test_it_explains_a_failed_read(self, path: Path, connect: Connect, context: Context) -> None:
        connection = connect(path)
        _, snapshot = taken(connection, context)

        def read() -> None:
            with connection.read_blocks.open_source(snapshot, "vmdisk1", context):
                path.touch()
                raise OSError("short read")

        with pytest.raises(Conflict) as caught:
            read()
        assert isinstance(caught.value.__context__, OSError)

    def test_identity_follows_every_file(self, tmp_path: Path, connect: Connect, context: Context) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        build.image(folder / "d.vmdk", DATA, "vmdk", "subformat=monolithicFlat")
        first = taken(connect(folder), context, "d")[1].disks[0].identity
        assert taken(connect(folder), context, "d")[1].disks[0].identity == first
        (folder / "d-flat.vmdk").touch()
        assert taken(connect(folder), context, "d")[1].disks[0].identity != first


@pytest.mark.parametrize(
    ("uri", "href", "expected"),
    [
        (build.VMDK_URI, "x", DiskFormat.VMDK),
        ("http://go.microsoft.com/fwlink/?LinkId=137171", "x", DiskFormat.VHD),
        ("qcow2", "0b6f-uuid", DiskFormat.QCOW2),
        ("raw", "0b6f-uuid", DiskFormat.RAW),
        ("", "x.vhdx", DiskFormat.VHDX),
        ("", "x.bin", None),
    ],
)
def test_formats(uri: str, href: str, expected: DiskFormat | None) -> None:
    assert disks.format_of(uri, href) is expected
