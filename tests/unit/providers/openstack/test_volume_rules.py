# SPDX-License-Identifier: Apache-2.0
"""Sizes, names and epochs of volumes; the choice of a transport."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.exceptions import NotFoundException

from coriolis.dataplane.image.filelock import lock_among_us, lock_for_writing
from coriolis.providers.api import Conflict, Context, Invalid, PlannedDisk
from coriolis.providers.openstack.nfs_fence import holders
from coriolis.providers.openstack.transports.choice import needed_of, transport
from coriolis.providers.openstack.volume_epochs import EPOCH, epoch_of, refuse_older
from coriolis.providers.openstack.volumes import dress, gib, is_zeroed, volume_name

GIB = 1 << 30


@pytest.mark.parametrize(("size", "wanted"), [(1, 1), (GIB, 1), (GIB + 1, 2), (10 * GIB, 10), (0, 1)])
def test_sizes_are_rounded_up_to_gib(size: int, wanted: int) -> None:
    assert gib(size) == wanted


def test_names_fit_into_cinder() -> None:
    assert volume_name("web", "volume/1") == "web-volume_1"
    assert len(volume_name("w" * 300, "d" * 300)) <= 255


@pytest.mark.parametrize(
    ("kind", "source", "encrypted", "wanted"),
    [
        ("fast", None, False, True),
        ("slow", None, False, False),
        ("fast", "origin", False, False),
        ("fast", None, True, False),
    ],
)
def test_a_promise_of_zeros_is_for_new_plain_volumes_of_the_type(
    kind: str, source: str | None, encrypted: bool, wanted: bool
) -> None:
    volume = SimpleNamespace(volume_type=kind, source_volume_id=source, is_encrypted=encrypted)
    assert is_zeroed(volume, {"zeroed_volume_types": ["fast"]}) is wanted
    assert not is_zeroed(volume, {})


def test_an_older_attempt_is_refused(tmp_path: Path) -> None:
    context = Context(log=logging.getLogger(), scratch=tmp_path, epoch=7)
    refuse_older(7, "v", context)
    refuse_older(-1, "v", context)
    with pytest.raises(Conflict, match="newer attempt"):
        refuse_older(8, "v", context)


@pytest.mark.parametrize(
    ("metadata", "wanted"), [(None, -1), ({}, -1), ({EPOCH: "7"}, 7), ({EPOCH: "-7"}, -1), ({EPOCH: "9" * 30}, -1)]
)
def test_what_a_volume_tells_of_its_writer(metadata: dict[str, str] | None, wanted: int) -> None:
    assert epoch_of(SimpleNamespace(metadata=metadata)) == wanted


@pytest.mark.parametrize("way", ["minion", "image"])
def test_whoever_comes_back_after_a_newer_writer_is_refused(way: str, tmp_path: Path) -> None:
    volume = SimpleNamespace(metadata={EPOCH: "8"})
    cinder = SimpleNamespace(
        get_volume=lambda _id: volume, get_endpoint_data=lambda: SimpleNamespace(max_microversion=(3, 70))
    )
    cloud: Any = SimpleNamespace(cinder=cinder, name="cloud", auth_url="https://cloud.example", project_id="p")
    context = Context(log=logging.getLogger(), scratch=tmp_path, epoch=7)
    with pytest.raises(Conflict, match="newer attempt"), transport(way).writing(cloud, "v", {}, context):
        pytest.fail("it was let in")


def test_what_a_transport_needs_is_kept() -> None:
    environment = {"minion_image": "m", "volume_seconds": 5, "user_data": "secret", "network": "n"}
    assert needed_of(environment) == {"minion_image": "m", "volume_seconds": 5}


def test_an_unknown_transport() -> None:
    with pytest.raises(Invalid, match="direct, worker, minion, image"):
        transport("os")


class TestLocks:
    def test_two_of_ours_do_not_write_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "disk"
        file.touch()
        first, second = (os.open(file, os.O_RDWR) for _ in range(2))
        try:
            assert lock_among_us(first)
            assert not lock_among_us(second)
            os.close(first)
            assert lock_among_us(second)
        finally:
            os.close(second)

    def test_nobody_of_ours_writes_while_a_qemu_does(self, tmp_path: Path) -> None:
        file = tmp_path / "disk"
        file.touch()
        qemu, ours, another = (os.open(file, os.O_RDWR) for _ in range(3))
        try:
            assert lock_for_writing(qemu)
            assert not lock_among_us(ours)
            os.close(qemu)
            assert lock_among_us(another), "the refused one kept its lock"
        finally:
            os.close(ours)
            os.close(another)


def test_who_holds_our_lock_on_a_file(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.touch()
    script = "import os, sys; from coriolis.dataplane.image.filelock import lock_among_us, lock_for_writing\n"
    script += "f = os.open(sys.argv[1], os.O_RDWR); print(globals()[sys.argv[2]](f), flush=True); sys.stdin.read()"
    started = []
    try:
        for lock in ("lock_among_us", "lock_for_writing"):
            command = [sys.executable, "-c", script, str(file), lock]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
        with file.open():
            assert holders(file) == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()


class TestTheBootVolume:
    DISK = PlannedDisk(
        disk_id="root", size_bytes=GIB, boot=True, properties={"image_properties": {"hw_firmware_type": "uefi"}}
    )

    def _asked(self, *, lost: str = "", **volume: Any) -> list[str]:
        """What Cinder is asked to change. ``lost``: of that, what was done by a request whose answer was lost."""
        asked: list[str] = []

        def delete(_id: str, keys: list[str]) -> None:
            asked.extend(f"not {key}" for key in keys)
            if lost in keys:
                raise NotFoundException

        cinder = SimpleNamespace(
            set_volume_bootable_status=lambda _id, _flag: asked.append("bootable"),
            set_volume_image_metadata=lambda _id, **items: asked.extend(items),
            delete_volume_image_metadata=delete,
        )
        cloud: Any = SimpleNamespace(cinder=cinder)
        dress(cloud, SimpleNamespace(id="v", **volume), self.DISK)
        return asked

    def test_is_made_one_with_the_hardware_that_was_planned(self) -> None:
        assert self._asked(is_bootable=False, volume_image_metadata=None) == ["bootable", "hw_firmware_type"]
        assert self._asked(is_bootable=True, volume_image_metadata={"hw_firmware_type": "bios"}) == ["hw_firmware_type"]

    def test_is_left_alone_when_it_is_one(self) -> None:
        assert self._asked(is_bootable=True, volume_image_metadata={"hw_firmware_type": "uefi", "x": "y"}) == []

    def test_keeps_nothing_of_an_earlier_plan(self) -> None:
        there = {"hw_firmware_type": "uefi", "hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi", "x": "y"}
        expected = ["not hw_disk_bus", "not hw_scsi_model"]
        assert self._asked(is_bootable=True, volume_image_metadata=there) == expected
        assert self._asked(is_bootable=True, volume_image_metadata=there, lost="hw_disk_bus") == expected
