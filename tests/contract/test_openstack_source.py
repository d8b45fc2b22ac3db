# SPDX-License-Identifier: Apache-2.0
"""Reading servers of real clouds under the contract suite, as a plain member of a project: running, with volumes on NFS
that only Glance leads to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from coriolis.dataplane import FileSink, copy_disk
from coriolis.providers.api import Connection, Context, Instance, Snapshot
from coriolis.providers.contract import SourceContract
from coriolis.providers.contract.subject import Mutate, Options
from coriolis.providers.openstack import tags
from tests.contract import openstack_project
from tests.contract.openstack_project import DATABASE, WEB, Project
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]
_MIB = 1 << 20


@pytest.fixture(scope="module")
def lab_project(old_cloud: LabCloud) -> Iterator[Project]:
    with openstack_project.project(old_cloud) as made:
        yield made


class Source(SourceContract):
    provider = "openstack"
    tells_changes = False  # NFS: rounds after the first compare digests

    @pytest.fixture
    def project(self, lab_project: Project) -> Project:
        return lab_project

    @pytest.fixture
    def options(self, project: Project) -> Options:
        return project.info

    @pytest.fixture
    def source_environment(self) -> Options:
        return {"replica_export_mechanism": "image"}

    @pytest.fixture
    def leftovers(self, project: Project) -> Callable[[], list[str]]:
        return lambda: openstack_project.everything(project.sdk)

    @pytest.fixture
    def mutate(self, old_cloud: LabCloud, tmp_path: Path) -> Mutate:
        """Through QEMU's own device, as if the guest wrote."""

        def write(instance: Instance, disk_id: str, offset: int, data: bytes) -> None:
            pattern = tmp_path / "pattern"
            pattern.write_bytes(data)
            number = [disk.id for disk in instance.devices.disks].index(disk_id)
            device = f"/machine/peripheral/virtio-disk{number}/virtio-backend"
            with _domain(old_cloud, instance.id) as domain:
                said = libvirt_qemu.qemuMonitorCommand(
                    domain,
                    f'qemu-io -d {device} "write -s {pattern} {offset} {len(data)}"',
                    libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP,
                )
            assert not said.strip() or "wrote" in said, said

        return write

    def test_second_round_writes_what_changed(
        self,
        take: Callable[..., Snapshot],
        connection: Connection,
        instance: Instance,
        mutate: Mutate,
        tmp_path: Path,
        context: Context,
    ) -> None:
        disk = instance.devices.disks[-1]
        sink, journal = FileSink(path=tmp_path / "disk"), tmp_path / "journal"
        done, earlier = [], None
        for number in (1, 2):
            earlier = take(f"contract-round-{number}", earlier)
            assert connection.read_blocks is not None
            with connection.read_blocks.open_source(earlier, disk.id, context) as source:
                done.append(copy_disk(source, sink, journal=journal, epoch=1))
            mutate(instance, disk.id, 700 * _MIB + 5, b"between the rounds")
        assert [one.mode for one in done] == ["full", "compare"]
        assert 0 < done[1].bytes_written <= 64 * _MIB  # the guest may have written, too
        with (tmp_path / "disk").open("rb") as file:
            file.seek(700 * _MIB + 5)
            assert file.read(18) == b"between the rounds"


class TestBootFromVolume(Source):
    @pytest.fixture
    def instance_name(self) -> str:
        return DATABASE


class TestImageBacked(Source):
    """With a volume beside the root disk."""

    @pytest.fixture
    def instance_name(self) -> str:
        return WEB

    def test_half_a_set_is_made_anew(self, take: Callable[..., Snapshot], project: Project, instance: Instance) -> None:
        """An attempt died between its calls: what it left is not mixed with what is made now."""
        key = "contract-half"
        left = project.sdk.block_storage.create_snapshot(
            volume_id=instance.devices.disks[1].id, name=tags.tag(key), metadata=tags.metadata(key), is_forced=True
        )
        taken = take(key)
        assert str(left.id) not in {disk.properties.get("snapshot_id") for disk in taken.disks}
        assert not [one for one in project.sdk.block_storage.snapshots() if one.id == left.id]


@contextlib.contextmanager
def _domain(cloud: LabCloud, ident: str) -> Iterator[libvirt.virDomain]:
    """A running server's domain in the lab, on whichever host it is."""
    home = cloud.cloud
    for host in home.spec.host_names:
        socket = home.home.var / "libvirt" / host / "run/libvirt-sock"
        with contextlib.closing(libvirt.open(f"qemu+unix:///system?socket={socket}")) as connection:
            if ident in {domain.UUIDString() for domain in connection.listAllDomains()}:
                yield connection.lookupByUUIDString(ident)
                return
    raise AssertionError(f"no host runs {ident}")
