# SPDX-License-Identifier: Apache-2.0
"""Images of several files, chains, deltas and snapshots; and ends that are cut off by very little."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from coriolis.dataplane import (
    DiskFormat,
    FileSink,
    ImageSource,
    InvalidImage,
    UnsafeImage,
    copy_disk,
    inspect_image,
    open_source,
)
from tests.integration import esxi_vmdk
from tests.integration.dataplane_disks import MIB, MISSING, convert, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]
SIZE = 48 * MIB
GRAIN = esxi_vmdk.GRAIN


def arrives(source: ImageSource, raw: Path, folder: Path) -> None:
    """The copy equals ``raw``, byte for byte."""
    out = folder / "arrived"
    copy_disk(source, FileSink(path=out), journal=folder / "journal", epoch=1)
    assert same(raw, out)
    assert out.stat().st_size == raw.stat().st_size


@pytest.mark.parametrize("variant", ["vmdk-split-sparse", "vmdk-split-flat"])
def test_splits_of_more_than_two_gigabytes(tmp_path: Path, variant: str) -> None:
    raw = make_raw(tmp_path / "disk.raw", size=5 << 30, runs=60)
    image = convert(raw, tmp_path / "disk.vmdk", variant)
    info = inspect_image(image)
    assert len(info.files) == 4
    arrives(ImageSource(path=image), raw, tmp_path)
    shorter = info.files[2]
    os.truncate(shorter, shorter.stat().st_size - 1)
    with pytest.raises(InvalidImage):
        inspect_image(image)
    shorter.unlink()
    with pytest.raises(InvalidImage, match="cannot be read"):
        inspect_image(image)


@pytest.mark.parametrize("link", ["vmdk", "qcow2"])
def test_a_vmdk_below_another_image(tmp_path: Path, link: str) -> None:
    raw = make_raw(tmp_path / "disk.raw", size=SIZE)
    base = convert(raw, tmp_path / "base.vmdk", "vmdk-sparse")
    top = tmp_path / "top.img"
    name = str(base) if link == "vmdk" else base.name
    run("qemu-img", "create", "-q", "-f", link, "-F", "vmdk", "-b", name, str(top))
    run("qemu-io", "-f", link, "-c", "write -P 0x42 5M 3M", str(top))
    run("qemu-io", "-f", "raw", "-c", "write -P 0x42 5M 3M", str(raw))
    if link == "vmdk":  # qemu-img wrote the whole path of the parent
        with pytest.raises(UnsafeImage):
            inspect_image(top)
        data = top.read_bytes()
        short = (base.name + '"').ljust(len(name) + 1, "\n")
        top.write_bytes(data.replace(name.encode() + b'"', short.encode(), 1))
    assert [path.name for path in inspect_image(top).files] == ["top.img", "base.vmdk"]
    arrives(ImageSource(path=top), raw, tmp_path)


class Deltas:
    """A flat disk, a delta on it, and a delta on that."""

    def __init__(self, folder: Path, kind: str) -> None:
        rng = random.Random(3)
        self.folder, sectors = folder, SIZE // 512
        self.raw = make_raw(folder / "expected.raw", size=SIZE, seed=3)
        shutil.copyfile(self.raw, folder / "disk-flat.vmdk")
        esxi_vmdk.descriptor(folder / "disk.vmdk", "vmfs", 'VMFS "disk-flat.vmdk" 0', sectors, cid="0000aaaa")
        below = ("0000aaaa", "disk.vmdk")
        with open(self.raw, "r+b") as file:
            for level in (1, 2):
                numbers = rng.sample(range(SIZE // GRAIN), 300)
                grains: dict[int, bytes | None] = {n: rng.randbytes(GRAIN) for n in numbers}
                grains[SIZE // GRAIN - 1] = rng.randbytes(GRAIN)
                if kind == "seSparse":
                    grains[numbers[0]] = None
                for number, data in grains.items():
                    file.seek(number * GRAIN)
                    file.write(data if data is not None else bytes(GRAIN))
                self.extent = folder / f"disk-00000{level}-delta.vmdk"
                if kind == "seSparse":
                    esxi_vmdk.se_sparse(self.extent, sectors, grains)
                else:
                    esxi_vmdk.cowd(self.extent, sectors, {n: d for n, d in grains.items() if d is not None})
                cid = f"0000bbb{level}"
                line = f'{"SESPARSE" if kind == "seSparse" else "VMFSSPARSE"} "{self.extent.name}"'
                self.top = folder / f"disk-00000{level}.vmdk"
                esxi_vmdk.descriptor(self.top, kind, line, sectors, cid=cid, parent=below)
                below = (cid, self.top.name)


@pytest.mark.parametrize("kind", ["vmfsSparse", "seSparse"])
class TestEsxiDeltas:
    def test_a_chain_of_them(self, tmp_path: Path, kind: str) -> None:
        deltas = Deltas(tmp_path, kind)
        info = inspect_image(deltas.top)
        assert len(info.files) == 6
        assert info.subformat == kind
        assert info.size == SIZE
        arrives(ImageSource(path=deltas.top), deltas.raw, tmp_path)

    @pytest.mark.parametrize("cut", [1, 512, GRAIN, 300 * GRAIN, 10**9])
    def test_cut_off(self, tmp_path: Path, kind: str, cut: int) -> None:
        deltas = Deltas(tmp_path, kind)
        os.truncate(deltas.extent, max(8, deltas.extent.stat().st_size - cut))
        with pytest.raises(InvalidImage):
            inspect_image(deltas.top)

    def test_a_parent_that_was_written_afterwards(self, tmp_path: Path, kind: str) -> None:
        deltas = Deltas(tmp_path, kind)
        parent = tmp_path / "disk-000001.vmdk"
        parent.write_text(parent.read_text().replace("0000bbb1", "0000bbb9"))
        with pytest.raises(InvalidImage, match="written after"):
            inspect_image(deltas.top)

    @pytest.mark.parametrize("name", ["/etc/shadow", "../disk.vmdk", "nbd://x", "disk-000002.vmdk", "gone.vmdk"])
    def test_a_parent_elsewhere(self, tmp_path: Path, kind: str, name: str) -> None:
        deltas = Deltas(tmp_path, kind)
        deltas.top.write_text(deltas.top.read_text().replace('"disk-000001.vmdk"', f'"{name}"'))
        with pytest.raises(InvalidImage):
            inspect_image(deltas.top)

    def test_the_data_without_its_descriptor(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InvalidImage, match="name its descriptor"):
            inspect_image(Deltas(tmp_path, kind).extent)


QCOW2S = {
    "plain": [],
    "old": ["-o", "compat=0.10"],
    "extended": ["-o", "extended_l2=on"],
    "compressed": ["-c"],
    "small clusters": ["-o", "cluster_size=512"],
    "large clusters": ["-o", "cluster_size=2M"],
    "all there": ["-o", "preallocation=full"],
    "tables there": ["-o", "preallocation=metadata"],
}


@pytest.mark.parametrize("kind", QCOW2S)
@pytest.mark.parametrize("size", [SIZE, SIZE + 1536])
def test_a_qcow2_that_lacks_its_last_byte(tmp_path: Path, kind: str, size: int) -> None:
    raw, image = make_raw(tmp_path / "disk.raw", size=size), tmp_path / "disk.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", *QCOW2S[kind], str(raw), str(image))
    arrives(ImageSource(path=image), raw, tmp_path)
    end = data_end(image)
    assert end <= image.stat().st_size
    os.truncate(image, end)
    assert inspect_image(image).size == size
    for cut in (1, 512):
        os.truncate(image, end - cut)
        with pytest.raises(InvalidImage, match="truncated"):
            inspect_image(image)


def data_end(image: Path) -> int:
    """The shortest length at which we take the image; QEMU must then read the same from it."""
    copy = image.with_name("cut.qcow2")
    low, high = 0, image.stat().st_size
    shutil.copyfile(image, copy)
    while high - low > 1:
        middle = (low + high) // 2
        os.truncate(copy, middle)
        try:
            inspect_image(copy)
            high = middle
        except InvalidImage:
            low = middle
            shutil.copyfile(image, copy)
    os.truncate(copy, high)
    assert same(image, copy, formats=("qcow2", "qcow2"))
    return high


class TestSnapshots:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        """Three states: two snapshots, of which the first is of a smaller disk, and the present."""
        image = tmp_path / "disk.qcow2"
        convert(make_raw(tmp_path / "first.raw", size=SIZE), image, "qcow2")
        run("qemu-img", "snapshot", "-c", "first", str(image))
        run("qemu-io", "-f", "qcow2", "-c", "write -P 1 3M 5M", str(image))
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(tmp_path / "second.raw"))
        run("qemu-img", "snapshot", "-c", "second, of two", str(image))
        run("qemu-io", "-f", "qcow2", "-c", "write -P 2 4M 9M", str(image))
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(tmp_path / "now.raw"))
        return image

    @pytest.mark.parametrize(
        ("snapshot", "expected"),
        [("first", "first"), ("1", "first"), ("second, of two", "second"), ("2", "second"), (None, "now")],
    )
    def test_each_is_a_source(self, image: Path, tmp_path: Path, snapshot: str | None, expected: str) -> None:
        arrives(ImageSource(path=image, snapshot=snapshot), tmp_path / f"{expected}.raw", tmp_path)

    def test_they_are_rounds_of_one_disk(self, image: Path, tmp_path: Path) -> None:
        sink = FileSink(path=tmp_path / "out", format=DiskFormat.QCOW2)
        for number, name in ((1, "1"), (2, "2"), (3, None)):
            source = ImageSource(path=image, snapshot=name)
            result = copy_disk(source, sink, journal=tmp_path / "journal", epoch=1)
            assert result.round == number
            assert result.mode == ("full" if number == 1 else "compare")
        assert same(tmp_path / "now.raw", sink.path, formats=("raw", "qcow2"))

    def test_nothing_is_written_to_the_image(self, image: Path) -> None:
        before = image.read_bytes()
        with open_source(ImageSource(path=image, snapshot="1")):
            pass
        assert image.read_bytes() == before

    def test_one_that_is_not_there(self, image: Path) -> None:
        with pytest.raises(InvalidImage, match=r"it has: first \(1\), second, of two \(2\)"):
            with open_source(ImageSource(path=image, snapshot="third")):
                pass

    def test_two_of_one_name(self, image: Path) -> None:
        run("qemu-img", "snapshot", "-c", "first", str(image))
        with pytest.raises(InvalidImage, match="not exactly one"):
            with open_source(ImageSource(path=image, snapshot="first")):
                pass

    def test_of_an_image_that_has_none(self, tmp_path: Path) -> None:
        raw = make_raw(tmp_path / "disk.raw")
        for variant in ("raw", "vmdk-stream", "vhdx"):
            image = convert(raw, tmp_path / variant, variant)
            with pytest.raises(InvalidImage, match="only a QCOW2"):
                with open_source(ImageSource(path=image, snapshot="1")):
                    pass
