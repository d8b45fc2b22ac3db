# SPDX-License-Identifier: Apache-2.0
"""Volumes of real clouds in a real Ceph, read and written by the worker itself, for a plain member of a project."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import FileSink, ImageSource, copy_disk
from coriolis.providers.api import Conflict
from coriolis.providers.contract.blocks import check_same, write_sink
from coriolis.providers.openstack.ceph_access import Cluster, find
from coriolis.providers.openstack.rbd import (
    RbdImage,
    never_written,
    rbd_of,
    reading,
    snapshot_name,
    writing,
)
from tests.integration.rbd_cluster import context
from tests.lab import ceph, ceph_clouds, content
from tests.lab.fixtures import PATIENCE, LabCloud

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.skipif(not ceph.available(), reason="not installed: Ceph"),
]
GIB, MIB = 1 << 30, 1 << 20
WAIT = 300.0
_HEADERS = {"OpenStack-API-Version": "volume 3.54"}


@pytest.fixture(params=["old", "new"])
def cloud(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> LabCloud:
    found = {"old": old_cloud, "new": new_cloud}[request.param]
    if ceph_clouds.NAME not in found.cloud.spec.additions.cinder_backends:
        pytest.skip("this cloud was brought up without Ceph; bring it down and up")
    return found


@pytest.fixture
def mine(cloud: LabCloud) -> Iterator[Member]:
    with cloud.connect(member=True) as connection:
        member = Member(cloud, connection)
        yield member
        member.clean()


class Member:
    """What a member of a project does in a cloud, and undoes at the end."""

    def __init__(self, cloud: LabCloud, connection: Any) -> None:
        self.cloud, self.connection = cloud, connection
        self._undo: list[Callable[[], None]] = []

    def volume(self, **more: Any) -> str:
        """The id of an available volume of 1 GiB."""
        storage = self.connection.block_storage
        made = storage.create_volume(name=_name(), size=1, **{"volume_type": "ceph", **more})
        self._undo.append(lambda: self._delete(storage.delete_volume, storage.find_volume, made.id))
        return str(storage.wait_for_status(made, "available", ["error"], interval=1, wait=WAIT).id)

    def snapshot(self, volume: str) -> str:
        storage = self.connection.block_storage
        made = storage.create_snapshot(volume_id=volume, name=_name(), is_forced=True)
        self._undo.append(lambda: self._delete(storage.delete_snapshot, storage.find_snapshot, made.id))
        return str(storage.wait_for_status(made, "available", ["error"], interval=1, wait=WAIT).id)

    def image(self, data: bytes, **more: Any) -> str:
        found = self.connection.image.create_image(name=_name(), disk_format="raw", container_format="bare", **more)
        self._undo.append(lambda: self.connection.image.delete_image(found.id))
        headers = {"Content-Type": "application/octet-stream", "X-Image-Meta-Store": "ceph"}
        self.connection.image.put(f"/images/{found.id}/file", data=data, headers=headers).raise_for_status()
        return str(found.id)

    def upload(self, volume: str) -> str:
        """SHA-512 of all bytes of a volume, by way of Glance."""
        found = self.connection.block_storage.upload_volume_to_image(
            volume, _name(), disk_format="raw", container_format="bare"
        )
        number = found["image_id"]
        self._undo.append(lambda: self.connection.image.delete_image(number))
        image = self.connection.image.get_image(number)
        image = self.connection.image.wait_for_status(image, "active", ["error", "killed"], interval=2, wait=WAIT)
        return str(image.hash_value)

    @contextlib.contextmanager
    def attached(self, volume: str) -> Iterator[dict[str, Any]]:
        """The connection info of an attachment to no server."""
        storage = self.connection.block_storage
        wanted = {"volume_uuid": volume, "connector": {"host": "worker", "ip": "127.0.0.1", "initiator": "iqn.x"}}
        made = storage.post("/attachments", json={"attachment": wanted}, headers=_HEADERS)
        made.raise_for_status()
        attachment = made.json()["attachment"]
        try:
            yield dict(attachment["connection_info"])
        finally:
            storage.delete(f"/attachments/{attachment['id']}", headers=_HEADERS).raise_for_status()

    def image_of(self, volume: str) -> RbdImage:
        with self.attached(volume) as info:
            found = find([operator(self.cloud)], self.cloud.url("keystone", "/v3"), info, proven=True)
            assert found is not None
            return rbd_of(info, found)

    def server(self) -> Any:
        compute = self.connection.compute
        made = compute.create_server(
            name=_name(),
            image_id=self.connection.image.find_image(content.GUEST_IMAGE).id,
            flavor_id=compute.find_flavor("lab.nano").id,
            networks=[{"uuid": self.connection.network.find_network(content.NETWORK).id}],
        )
        self._undo.append(lambda: self._delete(compute.delete_server, compute.find_server, made.id))
        return compute.wait_for_server(made, wait=WAIT)

    def give(self, server: Any, volume: str) -> None:
        self.connection.compute.create_volume_attachment(server, volume_id=volume)
        storage = self.connection.block_storage
        storage.wait_for_status(storage.get_volume(volume), "in-use", ["error", "available"], interval=1, wait=WAIT)

    def clean(self) -> None:
        for undo in reversed(self._undo):
            undo()

    def _delete(self, delete: Callable[..., Any], look: Callable[..., Any], number: str) -> None:
        delete(number)
        end = time.monotonic() + WAIT
        while look(number) is not None:
            assert time.monotonic() < end, f"{number} does not go away"
            time.sleep(1)


def operator(cloud: LabCloud) -> Cluster:
    """What the operator of the worker says."""
    mine = ceph_clouds.cluster()
    return Cluster(
        name="lab",
        auth_url=cloud.url("keystone"),
        pools=("volumes",),
        conf=mine.conf,
        user="coriolis",
        keyring=mine.keyring("coriolis"),
    )


@pytest.mark.timeout(PATIENCE)
def test_a_new_volume_is_written_and_is_what_glance_reads(mine: Member, tmp_path: Path) -> None:
    raw, volume = _disk(tmp_path / "raw"), mine.volume()
    with mine.attached(volume) as info:
        image = rbd_of(info, operator(mine.cloud))
        assert never_written(image, context(tmp_path))
        with writing(image, context(tmp_path), zeroed=True) as sink:
            result = copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    assert result.bytes_written <= 24 * MIB
    assert mine.upload(volume) == _sha512(raw)


@pytest.mark.timeout(PATIENCE)
def test_a_clone_of_an_image_is_read_in_rounds_while_it_is_in_use(mine: Member, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(24 * MIB)
    volume = mine.volume(image_id=mine.image(data))
    image, first = mine.image_of(volume), mine.snapshot(volume)
    sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
    with reading(mine.image_of(mine.volume(snapshot_id=first)), context(tmp_path)) as found:
        copy_disk(replace(found, identity=first), sink, journal=journal, epoch=1)
    wanted = bytearray(data.ljust(GIB, b"\0"))
    check_same(sink.path.read_bytes(), bytes(wanted))
    with writing(image, context(tmp_path)) as disk:
        pieces = [(MIB, b"new" * 1000), (500 * MIB, b"new" * 1000)]
        write_sink(disk, pieces)
    for offset, piece in pieces:
        wanted[offset : offset + len(piece)] = piece
    second = mine.snapshot(volume)
    copy = mine.image_of(mine.volume(snapshot_id=second))
    with reading(copy, context(tmp_path), since=snapshot_name(first)) as found:
        result = copy_disk(replace(found, identity=second, base_identity=first), sink, journal=journal, epoch=1)
    assert result.mode == "dirty"
    assert result.bytes_read <= 8 * MIB  # an object of a clone becomes its own at its first change
    check_same(sink.path.read_bytes(), bytes(wanted))


@pytest.mark.timeout(PATIENCE)
def test_a_volume_that_a_guest_has_is_not_written(mine: Member, tmp_path: Path) -> None:
    volume = mine.volume()
    image = mine.image_of(volume)
    mine.give(mine.server(), volume)
    with pytest.raises(Conflict, match="attached to a server"), writing(image, context(tmp_path)):
        pass
    copy = mine.image_of(mine.volume(snapshot_id=mine.snapshot(volume)))
    with reading(copy, context(tmp_path)) as source:
        assert source.size == GIB


def _disk(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(GIB)
        for offset in (0, 300 * MIB, GIB - 8 * MIB):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(8 * MIB))
    return path


def _sha512(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _name() -> str:
    return f"lab-ceph-{uuid.uuid4().hex[:8]}"
