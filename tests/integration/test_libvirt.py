# SPDX-License-Identifier: Apache-2.0
"""The libvirt provider on a real libvirtd: inventory, planning, volumes, domains."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbd
import pytest

from coriolis.dataplane import NbdSink
from coriolis.providers.api import (
    Conflict,
    Deployed,
    Firmware,
    Gone,
    Instance,
    Invalid,
    Layout,
    OsType,
    Unavailable,
    Volume,
)
from coriolis.providers.libvirt import PROVIDER
from coriolis.providers.libvirt.compute import domain_uuid
from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab, read, write

pytestmark = pytest.mark.integration
USER_NET = {"user": "user"}


def plan(lab: Lab, instance: Instance, **environment: object) -> Layout:
    environment.setdefault("name_suffix", "-new")
    return lab.connection.planning.plan(instance, environment, USER_NET, {}, lab.context())


def make_volumes(lab: Lab, layout: Layout, key: str = "volume") -> list[Volume]:
    return [
        lab.connection.volumes.create(disk, layout, f"{key}-{disk.disk_id}", {}, lab.context()) for disk in layout.disks
    ]


def deploy(lab: Lab, instance: Instance, **environment: object) -> Deployed:
    """A new domain with a tiny guest on its disk."""
    layout = plan(lab, instance, **environment)
    volumes = make_volumes(lab, layout)
    with lab.connection.write_blocks.open_sink(volumes[0], lab.context()) as sink:
        write(sink, tiny_guest.boot_sector())
    return lab.connection.compute.create(instance, layout, volumes, "vm", environment, lab.context())


def files(lab: Lab) -> list[str]:
    return sorted(path.name for path in lab.host.pool.iterdir())


def test_the_connection_is_proved(lab: Lab) -> None:
    lab.connection.check(lab.context())


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        ("qemu:///system?socket=/nonexistent/libvirt-sock", Unavailable, "is libvirtd running"),
        ("vbox:///session", Invalid, "qemu:///system"),
        ("qemu+ssh://root@127.0.0.1:1/system", Unavailable, "SSH to 127.0.0.1 failed"),
    ],
)
def test_connection_errors_are_classified(lab: Lab, uri: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        PROVIDER.connect({"connection_uri": uri}, lab.context())


def test_a_socket_without_rights_is_unauthorized(lab: Lab) -> None:
    """Run as another user, who may not use the socket."""
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "import libvirt\n"
        "from coriolis.providers.libvirt.errors import translated\n"
        "from coriolis.providers.api import Unauthorized\n"
        "try:\n"
        f"    with translated('x'): libvirt.open({lab.host.uri!r})\n"
        "except Unauthorized: sys.exit(0)\n"
        "sys.exit(1)\n"
    )
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert done.returncode == 0


def test_listing_pages_by_id(lab: Lab) -> None:
    for name in ("web-1", "web-2", "DB-1", "web-3"):
        lab.define(name, {})
    whole = lab.connection.inventory.list_instances({}, marker=None, limit=None, name=None, context=lab.context())
    assert [line.id for line in whole] == sorted(line.id for line in whole)
    paged, marker = [], None
    while page := lab.connection.inventory.list_instances({}, marker=marker, limit=3, name=None, context=lab.context()):
        paged += page
        marker = page[-1].id
    assert paged == whole
    named = lab.connection.inventory.list_instances({}, marker=None, limit=None, name="db", context=lab.context())
    assert [line.name for line in named] == ["DB-1"]


def test_an_instance_is_read_by_name_and_id(lab: Lab) -> None:
    instance = lab.define("web")
    assert (instance.num_cpu, instance.memory_mb, instance.os_type) == (1, 64, OsType.UNKNOWN)
    disk, nic = instance.devices.disks[0], instance.devices.nics[0]
    assert (disk.id, disk.size_bytes, disk.format) == ("vda", tiny_guest.DISK_SIZE, "qcow2")
    assert (nic.mac_address, nic.model, nic.network_name) == ("52:54:00:aa:bb:cc", "e1000", "user")
    assert lab.connection.inventory.get_instance({}, instance.id, lab.context()) == instance
    with pytest.raises(Gone, match="no domain nobody"):
        lab.instance("nobody")


def test_networks_and_pools(lab: Lab) -> None:
    lab.raw.networkDefineXML("<network><name>lan</name><forward mode='bridge'/><bridge name='br9'/></network>")
    try:
        names = [network.name for network in lab.connection.networks.list_networks({}, lab.context())]
        assert "lan" in names
        assert "br9" not in names
        assert names[-1] == "user"
    finally:
        lab.raw.networkLookupByName("lan").undefine()
    storage = lab.connection.storage.list_storage({}, lab.context())
    assert storage.config_default == "default"
    properties = storage.storage_backends[0].additional_provider_properties
    assert properties is not None
    assert 0 < properties["available_bytes"] <= properties["capacity_bytes"]


def test_a_plan_names_what_is_wrong_and_the_cure(lab: Lab) -> None:
    instance = lab.define("web")
    planning = lab.connection.planning
    with pytest.raises(Conflict, match=r"named web already.*name_suffix"):
        planning.plan(instance, {}, USER_NET, {}, lab.context())
    with pytest.raises(Invalid, match=r"network user of the instance is not mapped"):
        planning.plan(instance, {"domain_name": "x"}, {}, {}, lab.context())
    with pytest.raises(Invalid, match=r"no network nowhere"):
        planning.plan(instance, {"domain_name": "x"}, {"user": "nowhere"}, {}, lab.context())
    with pytest.raises(Invalid, match=r"no storage pool gold; it has default"):
        planning.plan(instance, {"domain_name": "x"}, USER_NET, {"default": "gold"}, lab.context())
    with pytest.raises(Invalid, match=r"no usable KVM"):
        planning.plan(instance, {"domain_name": "x", "accel": "kvm"}, USER_NET, {}, lab.context())


@contextlib.contextmanager
def small_pool(lab: Lab, mebibytes: int) -> Iterator[Path]:
    """A pool on a file system of its own, in libvirtd's mount namespace."""
    folder = lab.host.directory / "small"
    folder.mkdir()
    subprocess.run(["nsenter", "-t", str(lab.host.init_pid), "-m", "mount", "-t", "tmpfs", "-o",
                    f"size={mebibytes}m", "none", str(folder)], check=True)  # fmt: skip
    lab.host.define_pool("small", folder)
    try:
        yield folder
    finally:
        pool = lab.raw.storagePoolLookupByName("small")
        pool.destroy()
        pool.undefine()
        subprocess.run(["nsenter", "-t", str(lab.host.init_pid), "-m", "umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_pool_is_refused_before_a_byte_moves(lab: Lab) -> None:
    instance = lab.define("web")
    mappings = {"default": "default", "disk_mappings": [{"disk_id": "vda", "destination": "small"}]}
    with small_pool(lab, 16) as folder:
        with pytest.raises(Invalid, match=r"pool small has 1\d MiB free and the disks may grow to 64 MiB"):
            lab.connection.planning.plan(instance, {"name_suffix": "x"}, USER_NET, mappings, lab.context())
        layout = lab.connection.planning.plan(
            instance, {"name_suffix": "x", "overcommit_storage": True}, USER_NET, mappings, lab.context()
        )
        assert "libvirt.overcommit" in [concern.code for concern in layout.concerns]
        assert not list(folder.iterdir())


@pytest.mark.parametrize("volume_format", ["qcow2", "raw"])
def test_a_volume_is_made_once_written_and_removed(lab: Lab, volume_format: str) -> None:
    layout = plan(lab, lab.define("web"), volume_format=volume_format)
    before = files(lab)
    volume = make_volumes(lab, layout)[0]
    assert make_volumes(lab, layout) == [volume]
    assert len(files(lab)) == len(before) + 1
    assert volume.zeroed
    data = os.urandom(1 << 20)
    with lab.connection.write_blocks.open_sink(volume, lab.context()) as sink:
        assert isinstance(sink, NbdSink)
        write(sink, data, 1 << 20)
        assert read(sink) == bytes(1 << 20) + data + bytes(tiny_guest.DISK_SIZE - (2 << 20))
    assert len(files(lab)) == len(before) + 2  # the writer's record
    image = subprocess.run(["qemu-img", "info", "-f", volume_format, str(volume.properties["path"])], check=False)
    assert image.returncode == 0
    lab.connection.volumes.delete(None, "volume-vda", lab.context())
    lab.connection.volumes.delete(volume.ref, "volume-vda", lab.context())
    assert files(lab) == before
    with pytest.raises(Gone), lab.connection.write_blocks.open_sink(volume, lab.context()):
        pass


def test_a_newer_writer_locks_the_older_one_out(lab: Lab) -> None:
    volume = make_volumes(lab, plan(lab, lab.define("web")))[0]
    zombie = nbd.NBD()
    with contextlib.ExitStack() as old:
        sink = old.enter_context(lab.connection.write_blocks.open_sink(volume, lab.context(epoch=1)))
        zombie.connect_uri(sink.uri)
        zombie.pwrite(b"old" + bytes(509), 0)
        with lab.connection.write_blocks.open_sink(volume, lab.context(epoch=2)) as newer:
            write(newer, b"new" + bytes(509))
            with pytest.raises(nbd.Error):
                zombie.pwrite(b"old" + bytes(509), 0)
            with pytest.raises(Conflict, match="newer attempt"):
                old.enter_context(lab.connection.write_blocks.open_sink(volume, lab.context(epoch=1)))
            assert read(newer, 0, 3) == b"new"
    with pytest.raises(Conflict, match="newer attempt"):  # also when the newer one is through
        old.enter_context(lab.connection.write_blocks.open_sink(volume, lab.context(epoch=1)))
    with lab.connection.write_blocks.open_sink(volume, lab.context(epoch=2)) as sink:
        assert read(sink, 0, 3) == b"new"
    assert lab.exports() == []
    lab.connection.volumes.delete(volume.ref, "volume-vda", lab.context())
    assert lab.left_over() == []


def test_a_killed_writer_leaves_nothing_running(lab: Lab) -> None:
    volume = make_volumes(lab, plan(lab, lab.define("web")))[0]
    child = os.fork()
    if child == 0:
        with lab.connect().write_blocks.open_sink(volume, lab.context()) as sink:
            (lab.scratch / "uri").write_text(sink.uri)
            time.sleep(60)
    while not (lab.scratch / "uri").exists() or not lab.exports():
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    end = time.monotonic() + 20
    while lab.exports():
        assert time.monotonic() < end, lab.exports()
        time.sleep(0.05)
    lab.connection.volumes.delete(volume.ref, "volume-vda", lab.context())
    assert lab.left_over() == []


def test_deleting_a_volume_stops_its_writer(lab: Lab) -> None:
    volume = make_volumes(lab, plan(lab, lab.define("web")))[0]
    with lab.connection.write_blocks.open_sink(volume, lab.context()):
        lab.connection.volumes.delete(volume.ref, "volume-vda", lab.context())
        assert lab.exports() == []
    assert [name for name in files(lab) if "web-new" in name] == []


def test_a_domain_of_another_program_cannot_be_written(lab: Lab) -> None:
    instance = lab.define("web")
    deployed = deploy(lab, instance)
    volume = make_volumes(lab, plan(lab, instance, name_suffix="-other"), "volume")[0]
    assert deployed.instance is not None
    path = deployed.instance.devices.disks[0].path
    lab.connection.compute.start(deployed.ref, lab.context())
    running = Volume(disk_id="vda", ref=volume.ref, size_bytes=1, properties={**volume.properties, "path": path})
    with pytest.raises(Conflict, match="has it open"), lab.connection.write_blocks.open_sink(running, lab.context()):
        pass
    assert lab.left_over() == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"disk_bus": "scsi", "volume_format": "raw", "nic_model": "e1000e", "graphics": "vnc"},
        {"disk_bus": "sata"},
        {"machine": "pc", "disk_bus": "ide"},
    ],
    ids=["virtio", "scsi", "sata", "pc-ide"],
)
def test_a_domain_is_defined_once_boots_and_goes(lab: Lab, environment: dict[str, str]) -> None:
    instance = lab.define("web")
    deployed = deploy(lab, instance, **environment)
    assert not deployed.running
    assert deployed.instance is not None
    assert deployed.instance.devices.nics[0].mac_address == "52:54:00:aa:bb:cc"
    started = lab.connection.compute.start(deployed.ref, lab.context())
    assert lab.connection.compute.start(deployed.ref, lab.context()) == started
    assert started.running
    assert "console web-new" in (started.console or "")
    lab.wait_for_greeting("web-new")
    assert lab.left_over() == []
    lab.connection.compute.stop(deployed.ref, lab.context())
    lab.connection.compute.stop(deployed.ref, lab.context())
    assert not lab.connection.compute.is_running(deployed.ref, lab.context())
    lab.connection.volumes.delete(None, "volume-vda", lab.context())  # the volume is the domain's now
    assert any("belongs to domain web-new" in event for event in lab.events)
    assert any(name.startswith("web-new-vda-") for name in files(lab))
    lab.connection.compute.delete(deployed.ref, "vm", lab.context())
    lab.connection.compute.delete(None, "vm", lab.context())
    assert any(name.startswith("web-new-vda-") for name in files(lab))
    lab.connection.volumes.delete(None, "volume-vda", lab.context())
    assert not any(name.startswith("web-new-vda-") for name in files(lab))


@pytest.mark.parametrize("secure_boot", [False, True])
def test_an_efi_domain_is_defined_and_removed_with_its_variables(lab: Lab, secure_boot: bool) -> None:
    instance = dataclasses.replace(lab.define("web"), firmware_type=Firmware.EFI, secure_boot=secure_boot)
    layout = plan(lab, instance)
    deployed = lab.connection.compute.create(instance, layout, make_volumes(lab, layout), "vm", {}, lab.context())
    assert deployed.instance is not None
    assert (deployed.instance.firmware_type, deployed.instance.secure_boot) == (Firmware.EFI, secure_boot)
    lab.connection.compute.start(deployed.ref, lab.context())
    lab.connection.compute.delete(deployed.ref, "vm", lab.context())
    assert not list(lab.host.directory.glob("lib/qemu/nvram/*"))


def test_creating_a_domain_twice_gives_one(lab: Lab) -> None:
    instance = lab.define("web")
    layout = plan(lab, instance)
    volumes = make_volumes(lab, layout)
    compute = lab.connection.compute
    first = compute.create(instance, layout, volumes, "vm", {}, lab.context())
    assert compute.create(instance, layout, volumes, "vm", {}, lab.context()) == first
    with pytest.raises(Conflict, match="not ours"):
        compute.create(instance, layout, volumes, "another", {}, lab.context())
    with pytest.raises(Conflict, match="was not made by this migration"):
        compute.delete(instance.id, "vm", lab.context())
    assert first.ref == domain_uuid("vm")
