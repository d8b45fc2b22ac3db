# SPDX-License-Identifier: Apache-2.0
"""A real domain moves: rounds while it runs, the last one after it was shut down, and the copy boots."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from coriolis.dataplane import CopyResult, DataplaneError, copy_disk, verify_disk
from coriolis.providers.api import Gone, Layout, Snapshot, Volume
from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab

pytestmark = pytest.mark.integration


def make_volume(lab: Lab, volume_format: str) -> tuple[Layout, Volume]:
    layout = lab.connection.planning.plan(
        lab.instance("g"),
        {"name_suffix": "-new", "volume_format": volume_format},
        {"user": "user"},
        {},
        lab.context(),
    )
    return layout, lab.connection.volumes.create(layout.disks[0], layout, "volume", {}, lab.context())


def copy(lab: Lab, snapshot: Snapshot, volume: Volume, journal: Path) -> CopyResult:
    with (
        lab.connection.read_blocks.open_source(snapshot, "vda", lab.context()) as source,
        lab.connection.write_blocks.open_sink(volume, lab.context()) as sink,
    ):
        return copy_disk(source, sink, journal=journal, epoch=1)


@pytest.mark.parametrize("volume_format", ["qcow2", "raw"])
def test_rounds_then_shut_down_then_boot(lab: Lab, volume_format: str) -> None:
    lab.define("g")
    instance = lab.start("g")
    layout, volume = make_volume(lab, volume_format)
    journal = lab.scratch / "journal"
    snapshots = lab.connection.snapshots
    first = snapshots.create(instance, None, "one", {}, lab.context())
    assert copy(lab, first, volume, journal).mode == "full"
    assert copy(lab, first, volume, journal).mode == "done"
    second = snapshots.create(instance, first, "two", {}, lab.context())
    result = copy(lab, second, volume, journal)
    assert result.mode == "dirty"
    assert result.bytes_read <= 2 << 20
    lab.connection.compute.stop(instance.id, lab.context())
    third = snapshots.create(lab.instance("g"), second, "three", {}, lab.context())
    result = copy(lab, third, volume, journal)
    assert result.mode == "dirty"
    with lab.connection.write_blocks.open_sink(volume, lab.context()) as sink:
        assert verify_disk(sink, journal=journal).digest == result.digest
    for key in ("one", "two", "three"):
        snapshots.delete(None, key, lab.context())
    compared = subprocess.run(
        ["qemu-img", "compare", "-f", "qcow2", "-F", volume_format, str(lab.host.pool / "g.qcow2"),
         str(volume.properties["path"])], check=False, capture_output=True,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stdout
    deployed = lab.connection.compute.create(instance, layout, [volume], "vm", {}, lab.context())
    lab.connection.compute.start(deployed.ref, lab.context())
    lab.wait_for_greeting("g-new")
    lab.connection.compute.delete(deployed.ref, "vm", lab.context())
    lab.connection.volumes.delete(volume.ref, "volume", lab.context())
    assert lab.left_over() == []


def test_a_source_that_is_switched_off_in_the_copy_is_gone(lab: Lab) -> None:
    lab.define("g")
    instance = lab.start("g")
    _, volume = make_volume(lab, "qcow2")
    first = lab.connection.snapshots.create(instance, None, "one", {}, lab.context())

    def copy_without_source() -> None:
        with (
            lab.connection.write_blocks.open_sink(volume, lab.context()) as sink,
            lab.connection.read_blocks.open_source(first, "vda", lab.context()) as source,
        ):
            lab.domain("g").destroy()
            copy_disk(source, sink, journal=lab.scratch / "journal", epoch=1)

    with pytest.raises(Gone, match="switched off") as caught:
        copy_without_source()
    assert isinstance(caught.value.__context__, DataplaneError)
    lab.connection.snapshots.delete(first.ref, "one", lab.context())
    lab.connection.volumes.delete(None, "volume", lab.context())
    assert lab.left_over() == []
    assert first.disks[0].size_bytes == tiny_guest.DISK_SIZE
