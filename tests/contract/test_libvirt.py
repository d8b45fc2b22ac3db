# SPDX-License-Identifier: Apache-2.0
"""The libvirt provider under the contract suite, on a real libvirtd: running and stopped domains, and over SSH."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt_qemu
import pytest

from coriolis.providers.api import Instance, Invalid, ProviderError, Unavailable
from coriolis.providers.contract import ProviderContract
from coriolis.providers.contract.subject import Mutate, Options
from tests.equipment import missing
from tests.integration import tiny_guest
from tests.integration.libvirt_host import LibvirtHost, running
from tests.integration.libvirt_lab import Lab
from tests.integration.loopback_sshd import sshd

pytestmark = pytest.mark.integration

IMAGE = "minion.qcow2"


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    if os.geteuid() != 0 or not shutil.which("libvirtd"):
        missing("needs root and libvirtd")
    directory = Path(tempfile.mkdtemp(prefix="lv-"))
    try:
        with running(directory) as host:
            host.define_pool()
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Libvirt(ProviderContract):
    provider = "libvirt"

    @pytest.fixture
    def lab(self, host: LibvirtHost, tmp_path: Path) -> Iterator[Lab]:
        lab = Lab(host=host, scratch=tmp_path)
        lab.define("contract-source")
        yield lab
        lab.clear()
        lab.close()

    @pytest.fixture
    def options(self, lab: Lab) -> Options:
        return {**lab.host.connection_info, "shutdown_grace_seconds": 1}

    @pytest.fixture
    def destination_environment(self) -> Options:
        return {"name_suffix": "-new"}

    @pytest.fixture
    def network_map(self) -> Options:
        return {"VM Network": "user"}

    @pytest.fixture
    def minion_environment(self, lab: Lab) -> Options:
        image = lab.host.pool / IMAGE
        if not image.exists():
            tiny_guest.qcow2_disk(image)
            lab.raw.storagePoolLookupByName("default").refresh()
        return {"image": image.name, "memory_mb": 64}

    @pytest.fixture
    def leftovers(self, lab: Lab) -> Callable[[], list[str]]:
        def look() -> list[str]:
            domains = [domain.name() for domain in lab.raw.listAllDomains()]
            files = [path.name for path in lab.host.pool.iterdir() if path.name != IMAGE]
            return lab.left_over() + domains + files

        return look

    @pytest.fixture
    def failing_options(self, options: Options) -> list[tuple[Options, type[ProviderError]]]:
        return [
            ({"connection_uri": "qemu:///system?socket=/nonexistent/sock"}, Unavailable),
            ({"connection_uri": "qemu+ssh://root@127.0.0.1:1/system"}, Unavailable),
            ({"connection_uri": "qemu:///system?command=/bin/sh"}, Invalid),
            ({"connection_uri": "esx://host/"}, Invalid),
        ]


class TestStopped(Libvirt):
    """Among other domains."""

    @pytest.fixture
    def lab(self, host: LibvirtHost, tmp_path: Path) -> Iterator[Lab]:
        lab = Lab(host=host, scratch=tmp_path)
        for number in range(3):
            lab.define(f"empty-{number}", {})
        lab.define("contract-source")
        yield lab
        lab.clear()
        lab.close()

    @pytest.fixture
    def instance_name(self) -> str:
        return "contract-source"


class TestRunning(Libvirt):
    @pytest.fixture
    def lab(self, host: LibvirtHost, tmp_path: Path) -> Iterator[Lab]:
        lab = Lab(host=host, scratch=tmp_path)
        lab.define("contract-source", silent=True)
        lab.domain("contract-source").create()
        yield lab
        lab.clear()
        lab.close()

    @pytest.fixture
    def mutate(self, lab: Lab, tmp_path: Path) -> Mutate:
        """Through QEMU's own device, as if the guest wrote."""

        def write(instance: Instance, disk_id: str, offset: int, data: bytes) -> None:
            pattern = tmp_path / "pattern"
            pattern.write_bytes(data)
            device = "/machine/peripheral/virtio-disk0/virtio-backend"
            command = f'qemu-io -d {device} "write -s {pattern} {offset} {len(data)}"'
            said = libvirt_qemu.qemuMonitorCommand(
                lab.domain("contract-source"), command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
            )
            assert not said.strip() or "wrote" in said, said

        return write


class TestOverSsh(Libvirt):
    @pytest.fixture
    def options(self, lab: Lab, short_path: Path) -> Iterator[Options]:
        with sshd(short_path / "sshd") as server:
            yield {
                "connection_uri": f"qemu+ssh://root@127.0.0.1:{server.port}/system?socket={lab.host.socket}",
                "ssh_private_key": server.private_key,
                "ssh_host_key": server.host_key,
                "socket_directory": str(lab.host.directory / "sockets"),
                "shutdown_grace_seconds": 1,
            }

    @pytest.fixture
    def hanging_options(self, options: Options) -> Iterator[Options]:
        """A port that takes connections and never says a word."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            yield {**options, "connection_uri": f"qemu+ssh://root@127.0.0.1:{port}/system"}
