# SPDX-License-Identifier: Apache-2.0
"""The clouds of the lab are what the tests of the OpenStack provider take them for."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.lab import content
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack]
PATIENCE = 300.0
TWIN_ADDRESS = "10.60.77.7"


@pytest.fixture(params=["old", "new"])
def cloud(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> LabCloud:
    return {"old": old_cloud, "new": new_cloud}[request.param]


@pytest.fixture
def admin(cloud: LabCloud) -> Iterator[Any]:
    with cloud.connect() as connection:
        yield connection


def boot(connection: Any, image: str, **more: Any) -> Any:
    """A running server with a name of its own on the network of the lab."""
    more.setdefault("networks", [{"uuid": connection.network.find_network(content.NETWORK).id}])
    server = connection.compute.create_server(
        name=f"lab-test-{uuid.uuid4().hex[:8]}",
        image_id=connection.image.find_image(image).id,
        flavor_id=connection.compute.find_flavor("lab.small").id,
        **more,
    )
    return connection.compute.wait_for_server(server, wait=PATIENCE)


def address_of(server: Any) -> str:
    return next(entry["addr"] for entries in server.addresses.values() for entry in entries)


def until_said(connection: Any, server: Any, words: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while words not in (text := connection.compute.get_server_console_output(server)["output"] or ""):
        assert time.monotonic() < deadline, text[-3000:]
        time.sleep(1)
    return str(text)


def test_a_guest_boots_and_is_reached_at_its_address(admin: Any) -> None:
    server = boot(admin, content.GUEST_IMAGE)
    try:
        address = address_of(server)
        said = until_said(admin, server, f"coriolis-guest: address {address}")
        assert "coriolis-guest: boot 1" in said
        with urllib.request.urlopen(f"http://{address}/SHA256SUMS", timeout=60) as answer:
            assert b"random-000.bin" in answer.read()
    finally:
        admin.compute.delete_server(server)


def test_the_member_is_no_admin(cloud: LabCloud) -> None:
    with cloud.connect(member=True) as connection:
        assert connection.compute.find_flavor("lab.nano")
        assert connection.image.find_image(content.GUEST_IMAGE)
        roles = connection.session.auth.get_access(connection.session).role_names
        assert "admin" not in roles


@pytest.fixture
def key(admin: Any, tmp_path: Path) -> Iterator[Path]:
    """The private half of a keypair with the name of its file."""
    path = tmp_path / f"lab-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    admin.compute.create_keypair(name=path.name, public_key=path.with_suffix(".pub").read_text())
    yield path
    admin.compute.delete_keypair(path.name)


@pytest.fixture
def minion(admin: Any, key: Path) -> Iterator[Any]:
    server = boot(admin, content.MINION_IMAGE, key_name=key.name)
    yield server
    admin.compute.delete_server(server)
    admin.compute.wait_for_delete(server, wait=PATIENCE)


@pytest.fixture
def volume(admin: Any) -> Iterator[Any]:
    made = admin.block_storage.create_volume(name="lab-test", size=1)
    admin.block_storage.wait_for_status(made, "available", wait=PATIENCE)
    yield made
    admin.block_storage.wait_for_status(admin.block_storage.get_volume(made.id), "available", wait=PATIENCE)
    admin.block_storage.delete_volume(made)


@pytest.mark.slow
def test_a_minion_is_reached_and_gives_a_hot_plugged_volume(admin: Any, minion: Any, volume: Any, key: Path) -> None:
    until_said(admin, minion, "lab-minion: ready")
    run = ssh(address_of(minion), key)
    attachment = admin.compute.create_volume_attachment(minion, volume_id=volume.id)
    disk = f"/dev/disk/by-id/virtio-{volume.id[:20]}"
    run(f"for i in $(seq 100); do [ -b {disk} ] && break; usleep 200000; done; test -b {disk}")
    run(f"qemu-nbd --fork --persistent --cache=none -f raw -x volume {disk}")
    image = f"nbd://{address_of(minion)}:10809/volume"
    subprocess.run(["qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 64k", image], check=True)
    assert run(f"dd if={disk} bs=1 skip=1048576 count=4 2>/dev/null") == b"ZZZZ"
    run("killall qemu-nbd; while pidof qemu-nbd >/dev/null; do usleep 100000; done")
    admin.compute.delete_volume_attachment(minion, attachment.volume_id)


def ssh(address: str, key: Path) -> Callable[[str], bytes]:
    """Gives the output of a command there, which must succeed."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(address, username="root", key_filename=str(key), timeout=60, look_for_keys=False, allow_agent=False)

    def run(command: str) -> bytes:
        _, out, err = client.exec_command(command, timeout=PATIENCE)
        text = out.read()
        assert out.channel.recv_exit_status() == 0, err.read().decode()
        return text

    return run


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/SHA256SUMS", timeout=5) as answer:
        return bytes(answer.read())


def until_reached(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert b"random-000.bin" in fetch(address)
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(1)


@pytest.mark.slow
def test_one_address_in_two_clouds(old_cloud: LabCloud, new_cloud: LabCloud) -> None:
    """As when a guest keeps its address: the later one is reached, and the earlier one again when that has left."""
    with old_cloud.connect() as old, new_cloud.connect() as new, contextlib.ExitStack() as stack:
        servers = []
        for connection in (old, new):
            port = stack.enter_context(twin_port(connection))
            servers.append(stack.enter_context(guest_on(connection, port)))
            until_reached(TWIN_ADDRESS)
        new.compute.delete_server(servers[1])
        new.compute.wait_for_delete(servers[1], wait=PATIENCE)
        until_reached(TWIN_ADDRESS)
        old.compute.delete_server(servers[0])
        old.compute.wait_for_delete(servers[0], wait=PATIENCE)
        with pytest.raises(OSError, match=r"."):
            fetch(TWIN_ADDRESS)


@contextlib.contextmanager
def twin_port(connection: Any) -> Iterator[Any]:
    network = connection.network.create_network(name="lab-test-twin")
    subnet = connection.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.60.77.0/24")
    fixed = [{"subnet_id": subnet.id, "ip_address": TWIN_ADDRESS}]
    port = connection.network.create_port(network_id=network.id, fixed_ips=fixed, mac_address="fa:16:3e:60:77:07")
    try:
        yield port
    finally:
        connection.network.delete_port(port)
        connection.network.delete_network(network)


@contextlib.contextmanager
def guest_on(connection: Any, port: Any) -> Iterator[Any]:
    server = boot(connection, content.GUEST_IMAGE, networks=[{"port": port.id}])
    try:
        yield server
    finally:
        connection.compute.delete_server(server)
        connection.compute.wait_for_delete(server, wait=PATIENCE)
