# SPDX-License-Identifier: Apache-2.0
"""Volumes in real clouds: made, written straight to their storage, fenced and removed; by a member of a project."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import FileSink, ImageSource
from coriolis.providers.api import Conflict, Context, Invalid, Layout, PlannedDisk, Unavailable, Volume
from coriolis.providers.contract import blocks
from coriolis.providers.openstack.nfs_access import SHARES
from coriolis.providers.openstack.provider import OpenStackConnection, connect
from coriolis.providers.openstack.transports import direct
from coriolis.providers.openstack.volumes import dress, find_volumes
from tests.contract.openstack_project import InNewCloud, InOldCloud, Project
from tests.integration.openstack_site import scratch_file, shares
from tests.lab.faults import broken_type, faulty_region, proxied, volumes_hang
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack]

GIB = 1 << 30
KEY = f"volumes-test-{uuid.uuid4().hex[:8]}"
BOOT = PlannedDisk(
    disk_id="root",
    size_bytes=300 << 20,
    boot=True,
    properties={"image_properties": {"hw_firmware_type": "uefi", "hw_disk_bus": "scsi"}},
)


@dataclass
class Site:
    """A cloud as a member of a project sees it. ``events``: what was said to the user."""

    lab: LabCloud
    project: Project
    scratch: Path
    events: list[str] = field(default_factory=list)

    def open(self, **more: Any) -> OpenStackConnection:
        return connect({**self.project.info, **more}, self.context())

    def context(self, epoch: int = 1) -> Context:
        log = logging.getLogger(__name__)
        return Context(log=log, scratch=self.scratch, epoch=epoch, event=lambda _, text: self.events.append(text))


def make(cloud: OpenStackConnection, site: Site, disk: PlannedDisk = BOOT, **environment: Any) -> Volume:
    layout = Layout(name="guest", disks=(disk,))
    assert cloud.volumes is not None
    return cloud.volumes.create(disk, layout, KEY, environment, site.context())


@pytest.fixture
def site(lab_cloud: LabCloud, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """No volume of ours is in the cloud afterwards."""
    made = Site(lab=lab_cloud, project=project, scratch=tmp_path)
    monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([lab_cloud]))))
    yield made
    cloud = made.open()
    cloud.volumes.delete(None, KEY, made.context(epoch=99))
    assert find_volumes(cloud.cloud, KEY) == []


@pytest.fixture
def cloud(site: Site) -> OpenStackConnection:
    return site.open()


class Volumes:
    def test_a_boot_volume_is_what_was_planned(self, site: Site, cloud: OpenStackConnection) -> None:
        made = make(cloud, site)
        assert (made.size_bytes, made.properties["transport"]) == (GIB, "direct")
        again = cloud.cloud.cinder.get_volume(made.ref)
        assert again.is_bootable
        assert again.status == "available"
        assert again.volume_image_metadata.items() >= {"hw_firmware_type": "uefi", "hw_disk_bus": "scsi"}.items()

    def test_a_boot_volume_keeps_nothing_of_an_earlier_plan(self, site: Site, cloud: OpenStackConnection) -> None:
        made = make(cloud, site)
        later = replace(BOOT, properties={"image_properties": {"hw_firmware_type": "bios"}})
        dress(cloud.cloud, cloud.cloud.cinder.get_volume(made.ref), later)
        found = cloud.cloud.cinder.get_volume(made.ref).volume_image_metadata
        assert found["hw_firmware_type"] == "bios"
        assert "hw_disk_bus" not in found

    def test_a_new_volume_needs_no_zeros_and_a_written_one_does(self, site: Site, cloud: OpenStackConnection) -> None:
        made = make(cloud, site)
        with cloud.write_blocks.open_sink(made, site.context(epoch=1)) as sink:
            assert isinstance(sink, FileSink)
            assert sink.zeroed
            assert cloud.cloud.cinder.get_volume(made.ref).status == "in-use"
            blocks.write_sink(sink, [(5 << 20, b"bytes")])
        assert cloud.cloud.cinder.get_volume(made.ref).status == "available"
        with cloud.write_blocks.open_sink(made, site.context(epoch=2)) as sink:
            assert not sink.zeroed
        with direct.reading(cloud.cloud, made.ref, {}, site.context()) as source:
            assert isinstance(source, ImageSource)
            assert blocks.read_pieces(source, [(5 << 20, 5)]) == [b"bytes"]

    def test_what_comes_through_glance_leaves_a_boot_volume_what_it_is(
        self, site: Site, cloud: OpenStackConnection, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        made = make(cloud, site, replica_import_mechanism="image")
        with cloud.write_blocks.open_sink(made, site.context(epoch=2)) as sink:
            blocks.write_sink(sink, [(5 << 20, b"bytes")])
        again = cloud.cloud.cinder.get_volume(made.ref)
        assert again.is_bootable
        assert again.volume_image_metadata.items() >= {"hw_firmware_type": "uefi", "hw_disk_bus": "scsi"}.items()
        with direct.reading(cloud.cloud, made.ref, {}, site.context()) as source:
            assert blocks.read_pieces(source, [(5 << 20, 5)]) == [b"bytes"]
        older = replace(site.context(epoch=1), scratch=tmp_path_factory.mktemp("another-worker"))
        with pytest.raises(Conflict, match="newer attempt"), cloud.write_blocks.open_sink(made, older):
            pass

    def test_cinder_clones_a_replica(self, site: Site, cloud: OpenStackConnection) -> None:
        replica = make(cloud, site)
        with cloud.write_blocks.open_sink(replica, site.context()) as sink:
            blocks.write_sink(sink, [(0, b"replica")])
        disk = replace(BOOT, origin=replica.ref)
        layout = Layout(name="clone", disks=(disk,))
        try:
            clone = cloud.volumes.create(disk, layout, f"{KEY}-clone", {}, site.context())
            assert clone.origin == replica.ref
            assert cloud.volumes.create(disk, layout, f"{KEY}-clone", {}, site.context()) == clone
            with cloud.write_blocks.open_sink(clone, site.context(epoch=2)) as sink:
                assert blocks.read_windows(sink, GIB)[0][1].startswith(b"replica")
                blocks.write_sink(sink, [(0, b"clone")])
        finally:
            cloud.volumes.delete(None, f"{KEY}-clone", site.context(epoch=3))
        with cloud.write_blocks.open_sink(replica, site.context(epoch=3)) as sink:
            assert blocks.read_windows(sink, GIB)[0][1].startswith(b"replica")

    def test_a_stopped_older_attempt_is_ended_and_stays_out(self, site: Site, cloud: OpenStackConnection) -> None:
        made = make(cloud, site)
        script = f"""
            import logging, pathlib, sys, time
            from coriolis.providers.api import Context, Volume
            from coriolis.providers.openstack.provider import connect
            context = Context(log=logging.getLogger("older"), scratch=pathlib.Path({str(site.scratch)!r}), epoch=1)
            cloud = connect({site.project.info!r}, context)
            volume = Volume(disk_id="root", ref={made.ref!r}, size_bytes={GIB}, properties={made.properties!r})
            with cloud.write_blocks.open_sink(volume, context) as sink:
                print("open", flush=True)
                time.sleep(600)
        """
        older = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
        try:
            assert older.stdout is not None
            assert older.stdout.readline() == "open\n"
            os.kill(older.pid, signal.SIGSTOP)
            with cloud.write_blocks.open_sink(made, site.context(epoch=2)) as sink:
                blocks.write_sink(sink, [(0, b"newer")])
            assert older.wait(60) == -signal.SIGKILL
        finally:
            older.kill()
            older.wait()
        with pytest.raises(Conflict, match="newer attempt"), cloud.write_blocks.open_sink(made, site.context(epoch=1)):
            pass

    def test_what_a_server_has_is_neither_written_nor_deleted(self, site: Site, cloud: OpenStackConnection) -> None:
        made = make(cloud, site)
        server = "11111111-2222-4333-8444-555555555555"
        cinder = site.project.sdk.block_storage
        wanted = {"attachment": {"volume_uuid": made.ref, "instance_uuid": server}}
        record = cinder.post("/attachments", json=wanted, microversion="3.44").json()["attachment"]["id"]
        with pytest.raises(Conflict, match=server), cloud.write_blocks.open_sink(made, site.context()):
            pass
        cloud.volumes.delete(made.ref, KEY, site.context())
        assert [one.id for one in find_volumes(cloud.cloud, KEY)] == [made.ref]
        assert any(server in text for text in site.events)
        cinder.delete_attachment(record)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"endpoint_overrides": {"volumev3": "http://127.0.0.1:1/v3"}}, "proves who it is"),
            ({"auth_url": "https://cloud.example:5000/v3", "cacert": "x"}, "proves who it is"),
            ({"auth_url": "http://other.example:5000/v3"}, "has not allowed direct access"),
        ],
    )
    def test_only_the_cloud_that_the_operator_named_leads_to_its_files(self, site: Site, more: Any, said: str) -> None:
        opened = site.open(**more)
        assert said in str(direct.why_not(opened.cloud, {}, site.context()))

    def test_a_share_that_the_operator_did_not_name_is_not_opened(
        self, site: Site, cloud: OpenStackConnection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make(cloud, site)
        other = site.scratch / "others.ini"
        other.write_text(f"[a]\nauth_url = {site.lab.auth()['auth_url']}\nexport = nas:/other\npath = {site.scratch}\n")
        monkeypatch.setenv(SHARES, str(other))
        assert "no NFS share" in str(direct.why_not_volume(cloud.cloud, made.ref, {}, site.context(), to_write=True))
        with pytest.raises(Invalid, match="no NFS share"), cloud.write_blocks.open_sink(made, site.context()):
            pass


class TestInTheOldCloud(Volumes, InOldCloud):
    pass


class TestInTheNewCloud(Volumes, InNewCloud):
    def test_a_volume_that_ends_in_error_is_removed_and_said(self, site: Site, cloud: OpenStackConnection) -> None:
        with broken_type(site.lab) as kind:
            with pytest.raises(Conflict, match=r"volume [0-9a-f-]{36} ended in status error: .*\w"):
                make(cloud, site, replace(BOOT, storage=kind))
            assert find_volumes(cloud.cloud, KEY) == []

    def test_a_volume_that_never_comes(self, site: Site, cloud: OpenStackConnection) -> None:
        with volumes_hang(site.lab):
            with pytest.raises(Unavailable, match="still creating"):
                make(cloud, site, volume_seconds=3)
            with pytest.raises(Unavailable, match="still creating"):
                cloud.volumes.delete(None, KEY, site.context())
        cloud.volumes.delete(None, KEY, site.context())
        assert find_volumes(cloud.cloud, KEY) == []

    def test_an_answer_that_is_lost_makes_no_second_volume(self, site: Site) -> None:
        with proxied(site.lab, "cinder") as proxies:
            cloud = site.open(region_name=faulty_region(site.lab))
            lost = proxies["cinder"].add("POST", r"/volumes$", lose_answer=True)
            with pytest.raises(Unavailable):
                make(cloud, site)
            assert lost.met == 1
            broken = proxies["cinder"].add("GET", r"/volumes/detail", status=500)
            with pytest.raises(Unavailable):
                make(cloud, site)
            assert broken.met == 1
            made = make(cloud, site)
            assert [one.id for one in find_volumes(cloud.cloud, KEY)] == [made.ref]

    def test_a_quota_that_is_used_up_is_said_with_its_cure(self, site: Site, cloud: OpenStackConnection) -> None:
        with site.lab.connect() as admin:
            limits = admin.block_storage.get_quota_set(cloud.cloud.project_id)
            admin.block_storage.update_quota_set(cloud.cloud.project_id, volumes=0)
            try:
                with pytest.raises(Conflict, match=r"(?i)quota.*ask an administrator"):
                    make(cloud, site)
            finally:
                admin.block_storage.update_quota_set(cloud.cloud.project_id, volumes=limits.volumes)
