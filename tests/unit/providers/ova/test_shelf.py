# SPDX-License-Identifier: Apache-2.0
"""Finding instances at a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coriolis.providers.api import Conflict, Context, Firmware, Gone, Invalid, Layout, OsType
from coriolis.providers.contract import Recorder
from coriolis.providers.ova.catalog import ROOTS_VARIABLE
from coriolis.providers.ova.connection import OvaConnection
from coriolis.worker import forks
from tests import ovf_packages as build

DATA = build.content(1 << 20)

Connect = Callable[[Path], OvaConnection]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An OVA with two machines, an OVF with its disk, a bare image, a damaged file, and things that are none."""
    folder = tmp_path / "exports"
    (folder / "deep" / "er").mkdir(parents=True)
    pair = build.system(id_="a", name="first") + build.system(id_="b", name="second")
    disk = build.vmdk(folder / "deep" / "er" / "web-disk1.vmdk", DATA)
    both = build.descriptor(f'<VirtualSystemCollection ovf:id="c"><Info/>{pair}</VirtualSystemCollection>')
    build.pack(folder / "pair.ova", {"pair.ovf": both, "web-disk1.vmdk": disk.read_bytes()})
    (folder / "deep" / "er" / "web.ovf").write_bytes(build.descriptor())
    build.image(folder / "bare.qcow2", DATA, "qcow2")
    (folder / "broken.ova").write_bytes(b"rubbish")
    (folder / "readme.txt").write_text("hello")
    (folder / ".hidden.raw").write_bytes(DATA)
    os.mkfifo(folder / "pipe.raw")
    (folder / "link.raw").symlink_to("/etc/passwd")
    return folder


def ids(connection: OvaConnection, context: Context, **more: object) -> list[str]:
    arguments: dict[str, object] = {"marker": None, "limit": None, "name": None, **more}
    return [s.id for s in connection.inventory.list_instances({}, context=context, **arguments)]  # type: ignore[arg-type]


def test_everything_is_found(folder: Path, connect: Connect, context: Context, recorder: Recorder) -> None:
    assert ids(connect(folder), context) == ["bare.qcow2", "deep/er/web.ovf", "pair.ova#a", "pair.ova#b"]
    assert any("broken.ova" in message for level, message in recorder.events if level == "WARNING")


def test_pages(folder: Path, connect: Connect, context: Context) -> None:
    connection = connect(folder)
    assert ids(connection, context, limit=3) == ["bare.qcow2", "deep/er/web.ovf", "pair.ova#a"]
    assert ids(connection, context, limit=3, marker="pair.ova#a") == ["pair.ova#b"]
    assert ids(connection, context, name="SECON") == ["pair.ova#b"]


def test_a_damaged_file_is_named_when_asked_for(folder: Path, connect: Connect, context: Context) -> None:
    for name in ("broken.ova", "broken"):
        with pytest.raises(Invalid, match="broken"):
            connect(folder).inventory.get_instance({}, name, context)
    with pytest.raises(Gone, match="1 files there cannot be read"):
        connect(folder).inventory.get_instance({}, "nobody", context)


def test_a_name_that_is_not_unique(folder: Path, connect: Connect, context: Context) -> None:
    build.image(folder / "deep" / "bare.raw", DATA, "raw")
    with pytest.raises(Conflict, match=r"bare\.qcow2, deep/bare\.raw"):
        connect(folder).inventory.get_instance({}, "bare", context)
    assert connect(folder).inventory.get_instance({}, "deep/bare.raw", context).name == "bare"


def test_what_the_environment_says(folder: Path, connect: Connect, context: Context) -> None:
    environment = {
        "num_cpu": 8,
        "memory_mb": 4096,
        "firmware_type": "EFI",
        "os_type": "windows",
        "networks": ["lan", "dmz"],
        "disk_bus": "sata",
    }
    instance = connect(folder).inventory.get_instance(environment, "bare", context)
    assert (instance.num_cpu, instance.memory_mb) == (8, 4096)
    assert (instance.firmware_type, instance.os_type) == (Firmware.EFI, OsType.WINDOWS)
    assert [nic.network_name for nic in instance.devices.nics] == ["lan", "dmz"]
    assert instance.devices.controllers[0].type == "sata"


def test_defaults_of_a_bare_image(folder: Path, connect: Connect, context: Context) -> None:
    connection = connect(folder)
    instance = connection.inventory.get_instance({}, "bare", context)
    assert (instance.num_cpu, instance.memory_mb, instance.os_type) == (1, 1024, OsType.UNKNOWN)
    assert instance.devices.disks[0].size_bytes == len(DATA)
    assert [c.code for c in connection.planning.check_source(instance, {}, context)] == ["ova.no_descriptor"]


def test_files_have_no_power(folder: Path, connect: Connect, context: Context) -> None:
    connection = connect(folder)
    assert not connection.compute.is_running("bare.qcow2", context)
    connection.compute.stop("bare.qcow2", context)
    with pytest.raises(Conflict):
        connection.compute.start("bare.qcow2", context)
    instance = connection.inventory.get_instance({}, "bare", context)
    with pytest.raises(Invalid, match="read, not written"):
        connection.compute.create(instance, Layout(name="x", disks=()), [], "key", {}, context)


@pytest.mark.parametrize("path", ["relative/x.ova", "/dev/null", "/dev/zero", "/etc/passwd", "/nowhere/x.ova", "/a\0b"])
def test_paths_that_are_refused(connect: Connect, context: Context, path: str) -> None:
    with pytest.raises(Invalid):
        connect(Path(path)).check(context)


class TestRoots:
    def test_inside(self, folder: Path, connect: Connect, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ROOTS_VARIABLE, f"/nowhere:{folder}")
        connect(folder).check(context)
        connect(folder / "bare.qcow2").check(context)

    @pytest.mark.parametrize("roots", ["/nowhere", ""])
    def test_outside(self, folder: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch, roots: str) -> None:
        monkeypatch.setenv(ROOTS_VARIABLE, roots)
        with pytest.raises(Invalid, match="operator"):
            connect(folder)

    def test_it_reaches_the_children_of_a_worker(self) -> None:
        assert ROOTS_VARIABLE in forks.KEPT_ENVIRONMENT

    def test_through_a_link(
        self, folder: Path, tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        (inside / "x.raw").symlink_to(folder / "bare.qcow2")
        monkeypatch.setenv(ROOTS_VARIABLE, str(inside))
        with pytest.raises(Invalid, match="operator"):
            connect(inside / "x.raw")
