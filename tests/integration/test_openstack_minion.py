# SPDX-License-Identifier: Apache-2.0
"""A volume through a minion in real clouds: written and read back, older attempts locked out, nothing left."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import DiskFormat, ImageSource, copy_disk
from coriolis.providers.api import Conflict, Context
from coriolis.providers.openstack import minions
from coriolis.providers.openstack.connection import Cloud, close_cloud, open_cloud
from coriolis.providers.openstack.tags import tag
from coriolis.providers.openstack.transports import minion
from tests.lab import content
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]
MIB = 1 << 20
ENVIRONMENT = {
    "minion_image": content.MINION_IMAGE,
    "minion_network": content.NETWORK,
    "minion_flavor": "lab.small",
    "server_seconds": 900,
}


@pytest.fixture(params=["old", "new"])
def lab_cloud(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> LabCloud:
    return {"old": old_cloud, "new": new_cloud}[request.param]


@pytest.fixture
def cloud(lab_cloud: LabCloud, tmp_path: Path) -> Iterator[Cloud]:
    info = {**lab_cloud.auth(member=True), "region_name": lab_cloud.region}
    opened = open_cloud(info, attempt(tmp_path, 0))
    with contextlib.ExitStack() as end:
        end.callback(close_cloud, opened)
        yield opened


@pytest.fixture
def volume(cloud: Cloud) -> Iterator[str]:
    made = cloud.cinder.create_volume(name="minion-test", size=1)
    cloud.cinder.wait_for_status(made, "available", wait=600)
    yield str(made.id)
    cloud.cinder.delete_volume(made.id)
    cloud.cinder.wait_for_delete(made, wait=600)


def attempt(folder: Path, epoch: int) -> Context:
    scratch = folder / f"attempt-{epoch}"
    scratch.mkdir(exist_ok=True)
    return Context(log=logging.getLogger("test"), scratch=scratch, epoch=epoch)


def qemu_io(uri: str, *commands: str) -> None:
    """What only reads opens it so: an export for reading takes nothing else."""
    mode = [] if any(one.startswith("write") for one in commands) else ["-r"]
    words = [word for one in commands for word in ("-c", one)]
    subprocess.run(["qemu-io", *mode, "-f", "raw", *words, uri], check=True)


def of_ours(cloud: Cloud, volume_id: str) -> list[Any]:
    """Whatever a minion of this volume is made of."""
    mark = tag(f"m-{volume_id}")
    return [
        *minions.find(cloud, f"m-{volume_id}"),
        *cloud.sdk.network.ports(description=mark),
        *cloud.sdk.network.security_groups(name=mark),
        *[pair for pair in cloud.sdk.compute.keypairs() if pair.name == mark],
    ]


def test_bytes_go_in_and_come_out_and_nothing_stays(cloud: Cloud, volume: str, tmp_path: Path) -> None:
    assert minion.why_not(cloud, ENVIRONMENT, attempt(tmp_path, 1)) is None
    with minion.writing(cloud, volume, ENVIRONMENT, attempt(tmp_path, 1)) as sink:
        qemu_io(sink.uri, "write -P 0x5a 1M 64k", "flush")  # type: ignore[union-attr]
        assert cloud.cinder.get_volume(volume).metadata[minion.MARK]
    assert of_ours(cloud, volume) == []
    with minion.reading(cloud, volume, ENVIRONMENT, attempt(tmp_path, 2)) as source:
        qemu_io(source.uri, "read -P 0x5a 1M 64k", "read -P 0 0 1M")  # type: ignore[union-attr]
        with (
            pytest.raises(Conflict, match="newer attempt"),
            minion.writing(cloud, volume, ENVIRONMENT, attempt(tmp_path, 1)),
        ):
            pytest.fail("an older attempt was let in")
    assert of_ours(cloud, volume) == []
    assert minion.MARK not in cloud.cinder.get_volume(volume).metadata


@pytest.mark.parametrize("zeroed", [True, False])
def test_zeros_are_written_unless_they_are_promised(cloud: Cloud, volume: str, tmp_path: Path, zeroed: bool) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"\x5a" * MIB)
        file.truncate(16 * MIB)
    with minion.writing(cloud, volume, ENVIRONMENT, attempt(tmp_path, 1), zeroed=zeroed) as sink:
        qemu_io(sink.uri, "write -P 0x11 8M 64k", "flush")  # type: ignore[union-attr]
        copy_disk(ImageSource(path=disk, format=DiskFormat.RAW), sink, journal=tmp_path / "journal", epoch=1)
        qemu_io(sink.uri, "read -P 0x5a 0 1M", f"read -P {0x11 if zeroed else 0} 8M 64k")  # type: ignore[union-attr]


def test_what_a_killed_attempt_left_is_removed_with_the_volume(cloud: Cloud, volume: str, tmp_path: Path) -> None:
    context = attempt(tmp_path, 1)
    recipe = minions.read_recipe(cloud, ENVIRONMENT)
    server = minions.boot(cloud, "minion-test", f"m-{volume}", recipe, context)
    cloud.sdk.compute.create_volume_attachment(server, volume_id=volume)
    cloud.cinder.wait_for_status(cloud.cinder.get_volume(volume), "in-use", wait=600)
    assert len(of_ours(cloud, volume)) == 3  # server, port, security group
    minion.forget(cloud, volume, context)
    assert of_ours(cloud, volume) == []
    assert cloud.cinder.get_volume(volume).status == "available"
    minion.forget(cloud, volume, context)
