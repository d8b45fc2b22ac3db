# SPDX-License-Identifier: Apache-2.0
"""What a descriptor may refer to, and what it may not; manifests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coriolis.providers.api import Cancelled, Context, Invalid
from coriolis.providers.contract import Recorder
from coriolis.providers.ova import manifest, package
from coriolis.providers.ova.connection import OvaConnection
from tests import ovf_packages as build

DATA = build.content(4 << 20)

Connect = Callable[[Path], OvaConnection]


@pytest.fixture(scope="module")
def vmdk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build.vmdk(tmp_path_factory.mktemp("vmdk") / "disk.vmdk", DATA).read_bytes()


ESCAPES = [
    "../../etc/shadow",
    "/etc/shadow",
    "..%2F..%2Fetc%2Fshadow",
    "%2Fetc%2Fshadow",
    "a/../../x.vmdk",
    "file:///etc/shadow",
    "http://127.0.0.1/disk.vmdk",
    "nbd://127.0.0.1/",
]


@pytest.mark.parametrize("href", ESCAPES)
class TestEscapes:
    def test_from_an_ova(self, tmp_path: Path, connect: Connect, context: Context, href: str) -> None:
        path = build.pack(tmp_path / "x.ova", {"x.ovf": build.descriptor(files=build.file(href))})
        self.refused(connect(path), context, href)

    def test_from_a_folder(self, tmp_path: Path, connect: Connect, context: Context, href: str) -> None:
        (tmp_path / "x.ovf").write_bytes(build.descriptor(files=build.file(href)))
        self.refused(connect(tmp_path / "x.ovf"), context, href)

    @staticmethod
    def refused(connection: OvaConnection, context: Context, href: str) -> None:
        with pytest.raises(Invalid, match=r"outside|other hosts|not there") as caught:
            connection.inventory.get_instance({}, "web", context)
        assert "shadow" not in href or "root:" not in caught.value.message
        assert "x.ov" in caught.value.message


@pytest.mark.parametrize("href", ["x" * 5000, "x" * 250, "%00", "a/" * 100, "%FF%FE", "%ED%A0%80", " ", "."])
@pytest.mark.parametrize("archived", [True, False])
def test_names_that_no_file_has(tmp_path: Path, connect: Connect, context: Context, href: str, archived: bool) -> None:
    described = {"x.ovf": build.descriptor(files=build.file(href))}
    if archived:
        path = build.pack(tmp_path / "x.ova", described)
    else:
        path = tmp_path / "x.ovf"
        path.write_bytes(described["x.ovf"])
    with pytest.raises(Invalid, match=r"x\.ov"):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_link_out_of_the_folder(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    outside = tmp_path / "outside.vmdk"
    outside.write_bytes(vmdk)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "web.ovf").write_bytes(build.descriptor())
    (folder / "web-disk1.vmdk").symlink_to(outside)
    with pytest.raises(Invalid, match="outside"):
        connect(folder).inventory.get_instance({}, "web", context)


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("name", ["extent", "backing"])
def test_an_image_that_names_other_files(
    tmp_path: Path, connect: Connect, context: Context, archived: bool, name: str
) -> None:
    """A VMDK whose extent, and a QCOW2 whose backing file, is /etc/shadow."""
    if name == "extent":
        body = (
            b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
            b'createType="monolithicFlat"\nRW 8192 FLAT "../../../../../../etc/shadow" 0\nddb.adapterType="ide"\n'
        )
        described = build.descriptor()
    else:
        target = build.image(tmp_path / "top.qcow2", DATA, "qcow2")
        body = bytearray(target.read_bytes())
        target.unlink()
        text = b"/etc/shadow"
        body[8:16], body[16:20] = (512).to_bytes(8, "big"), len(text).to_bytes(4, "big")
        body[512 : 512 + len(text)] = text
        described = build.descriptor(disks=build.disk(more='ovf:format="qcow2"'))
    files = {"web.ovf": described, "web-disk1.vmdk": bytes(body)}
    if archived:
        path = build.pack(tmp_path / "web.ova", files)
    else:
        for file, data in files.items():
            (tmp_path / file).write_bytes(data)
        path = tmp_path / "web.ovf"
    with pytest.raises(Invalid, match="shadow"):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_lying_vmdk(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    """Its header says that the disk is far larger than what its tables describe."""
    lying = bytearray(vmdk)
    lying[12:20] = (1 << 40).to_bytes(8, "little")
    path = build.pack(tmp_path / "web.ova", {"web.ovf": build.descriptor(), "web-disk1.vmdk": bytes(lying)})
    with pytest.raises(Invalid):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_truncated_vmdk_in_a_whole_archive(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    files = {"web.ovf": build.descriptor(), "web-disk1.vmdk": vmdk[: len(vmdk) // 2]}
    path = build.pack(tmp_path / "web.ova", files)
    with pytest.raises(Invalid):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_file_of_another_size_than_described(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    described = build.descriptor(files=build.file(more=f'ovf:size="{len(vmdk) + 1}"'))
    path = build.pack(tmp_path / "web.ova", {"web.ovf": described, "web-disk1.vmdk": vmdk})
    with pytest.raises(Invalid, match="its descriptor says"):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_missing_disk(tmp_path: Path, connect: Connect, context: Context) -> None:
    path = build.pack(tmp_path / "web.ova", {"web.ovf": build.descriptor()})
    with pytest.raises(Invalid, match=r"web-disk1\.vmdk"):
        connect(path).inventory.get_instance({}, "web", context)


def test_a_delta_disk(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    described = build.descriptor(disks=build.disk(more='ovf:parentRef="base"'))
    path = build.pack(tmp_path / "web.ova", {"web.ovf": described, "web-disk1.vmdk": vmdk})
    with pytest.raises(Invalid, match="snapshots"):
        connect(path).inventory.get_instance({}, "web", context)


@pytest.mark.parametrize("names", [(), ("a.ovf", "b.ovf")])
def test_an_ova_has_one_descriptor(tmp_path: Path, connect: Connect, context: Context, names: tuple[str, ...]) -> None:
    path = build.pack(tmp_path / "x.ova", {"readme": b"", **{name: build.descriptor() for name in names}})
    with pytest.raises(Invalid, match=f"{len(names)} .ovf"):
        connect(path).check(context)


def test_names_with_blanks_are_quoted(tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
    described = build.descriptor(files=build.file("my%20disk.vmdk"))
    path = build.pack(tmp_path / "web.ova", {"web.ovf": described, "my disk.vmdk": vmdk})
    assert connect(path).inventory.get_instance({}, "web", context).devices.disks[0].size_bytes == len(DATA)


class TestManifest:
    def files(self, vmdk: bytes) -> dict[str, bytes]:
        return {"web.ovf": build.descriptor(), "web-disk1.vmdk": vmdk}

    def snapshot(self, connection: OvaConnection, context: Context, **environment: object) -> None:
        instance = connection.inventory.get_instance({}, "web", context)
        connection.snapshots.create(instance, None, "key", environment, context)

    @pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
    @pytest.mark.parametrize("form", ["{a}({n})= {d}\n", "{a} ({n}) = {d}\r\n"])
    def test_good(
        self,
        tmp_path: Path,
        connect: Connect,
        context: Context,
        recorder: Recorder,
        vmdk: bytes,
        algorithm: str,
        form: str,
    ) -> None:
        files = self.files(vmdk)
        path = build.pack(tmp_path / "web.ova", {**files, "web.mf": build.manifest(files, algorithm, form)})
        self.snapshot(connect(path), context)
        item, done, total, message = recorder.progress[-1]
        assert (item, done) == ("manifest", total)
        assert total == sum(len(data) for data in files.values())
        assert "web-disk1.vmdk" in message

    def test_in_a_folder_with_a_certificate(
        self, tmp_path: Path, connect: Connect, context: Context, vmdk: bytes
    ) -> None:
        files = self.files(vmdk)
        for name, data in {**files, "web.mf": build.manifest(files), "web.cert": b"signed"}.items():
            (tmp_path / name).write_bytes(data)
        self.snapshot(connect(tmp_path / "web.ovf"), context)

    @pytest.mark.parametrize("wrong", ["web.ovf", "web-disk1.vmdk"])
    def test_wrong_digest(self, tmp_path: Path, connect: Connect, context: Context, vmdk: bytes, wrong: str) -> None:
        files = self.files(vmdk)
        listed = build.manifest({**files, wrong: files[wrong] + b" "})
        path = build.pack(tmp_path / "web.ova", {**files, "web.mf": listed})
        with pytest.raises(Invalid, match=wrong):
            self.snapshot(connect(path), context)
        self.snapshot(connect(path), context, check_manifest=False)

    def test_one_flipped_bit(self, tmp_path: Path, connect: Connect, context: Context, vmdk: bytes) -> None:
        files = self.files(vmdk)
        path = build.pack(tmp_path / "web.ova", {**files, "web.mf": build.manifest(files)})
        body = bytearray(path.read_bytes())
        at = body.find(vmdk) + len(vmdk) // 2
        body[at] ^= 1
        path.write_bytes(bytes(body))
        with pytest.raises(Invalid, match="digest"):
            self.snapshot(connect(path), context)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"rubbish", "line 1"),
            (b"MD5(web.ovf)= d41d8cd98f00b204e9800998ecf8427e", "line 1"),
            (b"SHA256(web.ovf)= abcd", "line 1"),
            (b"SHA1(gone.vmdk)= " + b"0" * 40, "gone.vmdk"),
            (b"SHA1(../../etc/shadow)= " + b"0" * 40, "outside"),
            ((b"SHA1(web.ovf)= " + b"0" * 40 + b"\n") * 2, "twice"),
        ],
    )
    def test_not_a_manifest(
        self, tmp_path: Path, connect: Connect, context: Context, vmdk: bytes, text: bytes, words: str
    ) -> None:
        path = build.pack(tmp_path / "web.ova", {**self.files(vmdk), "web.mf": text})
        with pytest.raises(Invalid, match=words):
            self.snapshot(connect(path), context)

    def test_cancel_is_felt(self, tmp_path: Path, context: Context, vmdk: bytes) -> None:
        files = self.files(vmdk)
        opened = package.open_ova(build.pack(tmp_path / "web.ova", {**files, "web.mf": build.manifest(files)}))
        listed = manifest.read(opened)
        assert listed is not None
        token = threading.Event()
        told: list[int] = []

        def progress(item: str, done: int, total: int, message: str) -> None:
            told.append(done)
            token.set()

        with pytest.raises(Cancelled):
            manifest.verify(opened, listed, replace(context, cancelled=token, progress=progress))
        assert len(told) == 1

    def test_checked_once_for_the_same_files(
        self, tmp_path: Path, connect: Connect, context: Context, recorder: Recorder, vmdk: bytes
    ) -> None:
        files = self.files(vmdk)
        path = build.pack(tmp_path / "web.ova", {**files, "web.mf": build.manifest(files)})
        connection = connect(path)
        instance = connection.inventory.get_instance({}, "web", context)
        first = connection.snapshots.create(instance, None, "one", {}, context)
        recorder.progress.clear()
        second = connection.snapshots.create(instance, first, "two", {}, context)
        assert not recorder.progress
        assert second.disks == first.disks
        path.touch()
        connection.snapshots.create(instance, first, "three", {}, context)
        assert recorder.progress
