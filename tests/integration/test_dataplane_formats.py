# SPDX-License-Identifier: Apache-2.0
"""Every format in, raw and QCOW2 out, judged by qemu-img; and images that must not be opened."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from coriolis.dataplane import (
    CopyOptions,
    DataplaneError,
    DiskFormat,
    FileSink,
    ImageSource,
    InvalidImage,
    Mismatch,
    NbdSink,
    Progress,
    UnsafeImage,
    copy_disk,
    digest_disk,
    inspect_image,
    open_sink,
    open_source,
    verify_disk,
)
from tests.integration.dataplane_disks import MIB, MISSING, VARIANTS, convert, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw")


@pytest.mark.parametrize("target", [DiskFormat.RAW, DiskFormat.QCOW2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_format_arrives_whole(raw: Path, tmp_path: Path, variant: str, target: DiskFormat) -> None:
    format = VARIANTS[variant][0]
    image = convert(raw, tmp_path / f"disk.{variant}", variant)
    assert inspect_image(image).format is format
    source, sink = ImageSource(path=image, format=format), FileSink(path=tmp_path / "out", format=target)
    result = copy_disk(source, sink, journal=tmp_path / "journal", epoch=1)
    assert same(raw, sink.path, formats=("raw", target.value))
    assert result.size >= raw.stat().st_size
    assert result.bytes_read + result.bytes_skipped == result.size
    verified = verify_disk(sink, journal=tmp_path / "journal")
    assert verified.digest == result.digest == digest_disk(source).digest
    assert verified.leaves_checked == verified.leaves


def test_formats_of_one_size_have_one_digest(raw: Path, tmp_path: Path) -> None:
    digests = {
        digest_disk(ImageSource(path=convert(raw, tmp_path / name, name))).digest
        for name in ("qcow2", "vmdk-stream", "vmdk-flat", "vhdx")
    }
    assert digests == {digest_disk(ImageSource(path=raw)).digest}


def test_holes_stay_holes(raw: Path, tmp_path: Path) -> None:
    sink = FileSink(path=tmp_path / "out")
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    assert sink.path.stat().st_blocks <= raw.stat().st_blocks + 64


def test_an_existing_target_full_of_rubbish_gets_its_zeros_written(raw: Path, tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.write_bytes(b"\xaa" * (raw.stat().st_size + 5 * MIB))
    sink = FileSink(path=target, create=False)
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    copied, rest = target.read_bytes()[: raw.stat().st_size], target.read_bytes()[raw.stat().st_size :]
    assert copied == raw.read_bytes()
    assert rest == b"\xaa" * 5 * MIB  # what lies beyond the disk is not ours


@pytest.mark.parametrize("zeroed", [True, False])
def test_an_nbd_export_is_a_target(raw: Path, tmp_path: Path, zeroed: bool) -> None:
    target = tmp_path / "out.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", str(target), str(raw.stat().st_size))
    with open_sink(FileSink(path=target, format=DiskFormat.QCOW2, create=False)) as export:
        sink = NbdSink(uri=export.uri, zeroed=zeroed)
        options = CopyOptions(connections=3, requests=5)
        result = copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1, options=options)
        assert verify_disk(sink, journal=tmp_path / "journal").digest == result.digest
    assert same(raw, target, formats=("raw", "qcow2"))


def test_a_backing_chain_is_read_through(raw: Path, tmp_path: Path) -> None:
    base = convert(raw, tmp_path / "base.qcow2", "qcow2")
    top = tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base.name, str(top))
    run("qemu-io", "-f", "qcow2", "-c", "write -P 0x77 5M 300k", str(top))
    info = inspect_image(top)
    assert [path.name for path in info.files] == ["top.qcow2", "base.qcow2"]
    sink = FileSink(path=tmp_path / "out")
    copy_disk(ImageSource(path=top), sink, journal=tmp_path / "journal", epoch=1)
    assert same(top, sink.path, formats=("qcow2", "raw"))
    assert not same(base, sink.path, formats=("qcow2", "raw"))


def test_no_path_shows_in_the_arguments_of_the_server(raw: Path, tmp_path: Path) -> None:
    with open_source(ImageSource(path=raw)) as source:
        socket = source.uri.split("socket=")[1]
        mine = subprocess.run(["pgrep", "-f", socket], capture_output=True, text=True, check=True).stdout.split()
        arguments = [Path(f"/proc/{pid}/cmdline").read_text() for pid in mine]
        assert any("qemu-storage-daemon" in text for text in arguments)
        assert not any("disk.raw" in text for text in arguments)
        assert os.stat(os.path.dirname(socket)).st_mode & 0o777 == 0o700
    assert not os.path.exists(socket)


def test_progress_grows_to_the_size_of_the_disk(raw: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    copy_disk(
        ImageSource(path=raw),
        FileSink(path=tmp_path / "out"),
        journal=tmp_path / "journal",
        epoch=1,
        options=CopyOptions(progress_seconds=0),
        progress=seen.append,
    )
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total == raw.stat().st_size


def test_a_changed_target_is_found_and_named(raw: Path, tmp_path: Path) -> None:
    sink = FileSink(path=tmp_path / "out")
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    for offset in (7 * MIB + 5, 8 * MIB, 30 * MIB):
        with open(sink.path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(Mismatch, match="2097152 bytes at 7340032") as caught:
        verify_disk(sink, journal=tmp_path / "journal")
    assert caught.value.extents == ((7 * MIB, 2 * MIB), (30 * MIB, MIB))


def test_a_sample_reads_its_share_and_finds_what_is_in_it(tmp_path: Path) -> None:
    raw, sink, journal = tmp_path / "dense.raw", FileSink(path=tmp_path / "out"), tmp_path / "journal"
    raw.write_bytes(b"".join(bytes([number + 1]) * MIB for number in range(64)))
    copy_disk(ImageSource(path=raw), sink, journal=journal, epoch=1)
    result = verify_disk(sink, journal=journal, mode="sample", fraction=1 / 16, seed=1)
    assert (result.mode, result.leaves, result.leaves_checked) == ("sample", 64, 4)
    assert result.bytes_read == 4 * MIB
    assert result.digest is None
    with open(sink.path, "r+b") as file:
        for number in range(64):
            file.seek(number * MIB + 77)
            file.write(b"\0")
    found = []
    for seed in (1, 2):
        with pytest.raises(Mismatch) as caught:
            verify_disk(sink, journal=journal, mode="sample", fraction=1 / 16, seed=seed)
        assert sum(length for _, length in caught.value.extents) == 4 * MIB
        found.append(caught.value.extents)
    assert found[0] != found[1]


# -- images that must not be opened


def vmdk(folder: Path, *extents: str, **settings: str) -> Path:
    path = folder / "disk.vmdk"
    lines = ["# Disk DescriptorFile", "version=1", "CID=12345678", f"parentCID={settings.pop('cid', 'ffffffff')}"]
    lines += ['createType="monolithicFlat"', *(f'{k}="{v}"' for k, v in settings.items()), *extents]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../../../../../../etc/shadow",
        "/etc/shadow",
        "sub/../../secret",
        "..\\..\\secret",
        "nbd://localhost/x",
        "json:{}",
        "http://127.0.0.1/x",
        "file:/etc/shadow",
        "link",
        "",
    ],
)
def test_a_vmdk_extent_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(MIB))
    folder = tmp_path / "ova"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    image = vmdk(folder, f'RW 2048 FLAT "{name}" 0')
    with pytest.raises(UnsafeImage):
        inspect_image(image)
    with pytest.raises(UnsafeImage):
        copy_disk(ImageSource(path=image), FileSink(path=tmp_path / "out"), journal=tmp_path / "j", epoch=1)
    assert not (tmp_path / "out").exists()


def test_a_link_inside_of_the_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x" * MIB)
    (tmp_path / "link").symlink_to("real")
    assert inspect_image(vmdk(tmp_path, 'RW 2048 FLAT "link" 0')).size == MIB


def test_a_descriptor_that_promises_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "flat").write_bytes(bytes(MIB))
    with pytest.raises(UnsafeImage, match="lies"):
        inspect_image(vmdk(tmp_path, 'RW 4096 FLAT "flat" 0'))
    with pytest.raises(UnsafeImage, match="lies"):
        inspect_image(vmdk(tmp_path, 'RW 2048 FLAT "flat" 1'))


def test_a_descriptor_against_the_header_of_its_sparse_extent(raw: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "split.vmdk", "vmdk-split-sparse")
    part = next(tmp_path.glob("split-s*.vmdk"))
    with pytest.raises(UnsafeImage, match="lies"):
        inspect_image(vmdk(tmp_path, f'RW 4096 SPARSE "{part.name}"'))


def test_absurd_capacities(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="64 TiB"):
        inspect_image(vmdk(tmp_path, f"RW {1 << 50} ZERO"))


def test_a_snapshot_vmdk_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "flat").write_bytes(bytes(MIB))
    with pytest.raises(InvalidImage, match="consolidate"):
        inspect_image(vmdk(tmp_path, 'RW 2048 FLAT "flat" 0', cid="abcdef01"))
    with pytest.raises(InvalidImage, match="consolidate"):
        inspect_image(vmdk(tmp_path, 'RW 2048 FLAT "flat" 0', parentFileNameHint="/etc/shadow"))


def test_a_sparse_vmdk_whose_own_descriptor_points_elsewhere(raw: Path, tmp_path: Path) -> None:
    image = convert(raw, tmp_path / "disk.vmdk", "vmdk-sparse")
    data = bytearray(image.read_bytes())
    at = data.index(b'"disk.vmdk"')
    data[at : at + 11] = b'"/etc/shad"'
    image.write_bytes(data)
    with pytest.raises(UnsafeImage, match="names other files"):
        inspect_image(image)


def test_a_sparse_vmdk_with_a_lying_header(raw: Path, tmp_path: Path) -> None:
    image = convert(raw, tmp_path / "disk.vmdk", "vmdk-sparse")
    with open(image, "r+b") as file:
        file.seek(12)
        file.write(struct.pack("<Q", 1 << 20))
    with pytest.raises(InvalidImage):
        inspect_image(image)


@pytest.mark.parametrize("name", ["/etc/shadow", "../secret", "nbd:unix:/x", 'json:{"driver":"nbd"}', "link"])
def test_a_backing_file_outside_of_the_folder(raw: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(MIB))
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    image = folder / "top.qcow2"
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", name, str(image), "1M")
    with pytest.raises(UnsafeImage):
        inspect_image(image)


def test_a_chain_that_is_a_circle(tmp_path: Path) -> None:
    image = tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "top.qcow2", str(image), "1M")
    with pytest.raises(InvalidImage, match="circle"):
        inspect_image(image)


def test_an_external_data_file(tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", str(image), "1M")
    with pytest.raises(UnsafeImage, match="external file"):
        inspect_image(image)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("raw", "vmdk-flat", "vmdk-split-flat")])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9])
def test_truncated_images_are_never_copied(raw: Path, tmp_path: Path, variant: str, keep: float) -> None:
    image = convert(raw, tmp_path / "disk.vmdk", variant)
    if variant == "vmdk-split-sparse":
        image = next(tmp_path.glob("disk-s*.vmdk"))
    os.truncate(image, int(image.stat().st_size * keep))
    with pytest.raises(DataplaneError):
        copy_disk(
            ImageSource(path=tmp_path / "disk.vmdk", format=VARIANTS[variant][0]),
            FileSink(path=tmp_path / "out"),
            journal=tmp_path / "journal",
            epoch=1,
        )
    assert not (tmp_path / "out").exists()


def test_a_truncated_flat_extent(raw: Path, tmp_path: Path) -> None:
    image = convert(raw, tmp_path / "disk.vmdk", "vmdk-flat")
    os.truncate(tmp_path / "disk-flat.vmdk", MIB)
    with pytest.raises(UnsafeImage, match="truncated"):
        inspect_image(image)


def test_a_format_that_is_not_the_promised_one(raw: Path) -> None:
    with pytest.raises(InvalidImage, match="should be vmdk but is raw"):
        inspect_image(raw, format=DiskFormat.VMDK)


def test_an_image_called_raw_is_never_probed(raw: Path, tmp_path: Path) -> None:
    image = convert(raw, tmp_path / "disk.qcow2", "qcow2")
    assert inspect_image(image, format=DiskFormat.RAW).size == image.stat().st_size


def test_foreign_formats_are_named(raw: Path, tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "vdi", str(raw), str(tmp_path / "disk.vdi"))
    with pytest.raises(InvalidImage, match="VDI"):
        inspect_image(tmp_path / "disk.vdi")


def test_neither_a_folder_nor_a_pipe_is_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nothing"):
        with pytest.raises(InvalidImage):
            inspect_image(path)


def test_the_size_of_a_hole_costs_nothing(tmp_path: Path) -> None:
    image = tmp_path / "huge.raw"
    with open(image, "wb") as file:
        file.truncate(2 << 40)
        file.seek((1 << 40) + 12345)
        file.write(b"the only bytes")
    sink = FileSink(path=tmp_path / "out")
    result = copy_disk(ImageSource(path=image), sink, journal=tmp_path / "journal", epoch=1)
    assert result.bytes_read <= MIB
    assert result.bytes_read + result.bytes_skipped == 2 << 40
    assert (tmp_path / "journal").stat().st_size < 4096
    assert verify_disk(sink, journal=tmp_path / "journal").digest == result.digest
