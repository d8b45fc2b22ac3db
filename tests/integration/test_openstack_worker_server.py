# SPDX-License-Identifier: Apache-2.0
"""A worker that is a server of the cloud: volumes are attached to it, and read and written there. It runs in a guest of
a real cloud, with the whole service, which moves another server within the project."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coriolis.client import Proxy, connect_url
from coriolis.providers.api import Context
from coriolis.providers.api.hosts import Host
from coriolis.providers.openstack.connection import close_cloud, open_cloud
from coriolis.providers.openstack.minion_login import KeyPair, Place, logged_in, new_keypair
from coriolis.providers.openstack.transports import worker
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of
from tests.integration.test_openstack_minion import attempt
from tests.lab import content
from tests.lab.fixtures import LabCloud
from tests.lab.worker_disk import build_worker_disk
from tests.service.standalone_process import BIN, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.timeout(3600, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGE, NAME, WORKER = "10.88.15.0/24", "mover", "worker"
FLAVOR, MEMORY_MIB, DISK_GIB = "worker-server", 2048, 2
SERVICES = ("keystone", "nova", "cinder", "glance", "neutron", "placement")
PORT = 17667  # of the service in the guest, and of the tunnel to it
PLACE = "/srv"  # of the disk with the project, in the guest
# The guest's processors are emulated: what the service does takes it many times as long as elsewhere.
OPTIONS = """\
[openstack]
own_servers_file = /etc/own-servers.ini
[worker]
providers = openstack
[engine]
quarantine_seconds = 5
lease_seconds = 120
"""
# Ends the attempts of the service: the children of its fork servers.
KILL = """\
for server in $(cat /proc/$1/task/*/children); do
    for attempt in $(cat /proc/$server/task/*/children); do kill -9 $attempt && echo $attempt; done
done
"""


@dataclass
class Guest:
    """The server that the worker is, entered as root. The clouds' addresses lead there what they lead to here."""

    host: Host
    server: Any

    def run(self, *words: str) -> str:
        done = subprocess.run(self.host.command(list(words)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def write(self, path: str, text: str) -> None:
        command = self.host.command(["sh", "-c", 'umask 077; cat >"$1"', "write", path])
        subprocess.run(command, input=text, text=True, check=True)

    def tunnel(self, *options: str) -> None:
        """With the options of ssh for it."""
        *ssh, target, _dashes, _command = self.host.command([":"])
        subprocess.run([*ssh, "-O", "forward", *options, target], check=True)

    def enter(self, *words: str) -> str:
        return self.run("chroot", PLACE, *words)


@dataclass
class Service:
    client: Proxy


@pytest.fixture(scope="module", params=["old", "new"])
def member(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> Iterator[Member]:
    cloud = {"old": old_cloud, "new": new_cloud}[request.param]
    with cloud.connect() as admin:
        flavor = admin.compute.create_flavor(name=FLAVOR, ram=MEMORY_MIB, vcpus=2, disk=DISK_GIB)
        try:
            with member_of(cloud, RANGE, called="worker") as made:
                yield made
        finally:
            admin.compute.delete_flavor(flavor)


@pytest.fixture(scope="module")
def guest(member: Member, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A running guest with the project on a second disk."""
    folder = tmp_path_factory.mktemp("guest")
    login = new_keypair()
    programs = programs_of(member, build_worker_disk(folder / "disk"))
    server = boot(member, login)
    member.sdk.compute.create_volume_attachment(server, volume_id=programs.id)
    member.sdk.block_storage.wait_for_status(programs, "in-use", ["error"], wait=PATIENCE)
    with entered(member, server, login, attempt(folder, 1)) as host:
        made = Guest(host, server)
        disk = f"/dev/disk/by-id/virtio-{programs.id[:20]}"
        made.run("sh", "-c", f"until [ -b {disk} ]; do sleep 1; done; mount {disk} {PLACE}")
        for name in ("dev", "proc", "sys"):
            made.run("mount", "-o", "bind", f"/{name}", f"{PLACE}/{name}")
        yield made


def programs_of(member: Member, disk: Path) -> Any:
    """A volume with the bytes of the disk."""
    image = member.sdk.image.create_image(
        name="worker-programs", filename=str(disk), disk_format="raw", container_format="bare", wait=True
    )
    try:
        return member.volume("worker-programs", "fast", image.id)
    finally:
        member.sdk.image.delete_image(image)


def boot(member: Member, login: KeyPair) -> Any:
    sdk = member.sdk
    sdk.compute.create_keypair(name=WORKER, public_key=login.public, key_type="ssh")
    try:
        made = sdk.compute.create_server(
            name=WORKER,
            image_id=sdk.image.find_image(content.MINION_IMAGE).id,
            flavor_id=sdk.compute.find_flavor(FLAVOR).id,
            networks=[{"uuid": member.network.id}],
            key_name=WORKER,
            config_drive=True,
        )
        return sdk.compute.wait_for_server(made, wait=PATIENCE)
    finally:
        sdk.compute.delete_keypair(WORKER)


@contextlib.contextmanager
def entered(member: Member, server: Any, login: KeyPair, context: Context) -> Iterator[Host]:
    ((entry, *_),) = server.addresses.values()
    cloud = open_cloud(member.info, context)
    try:
        with logged_in(cloud, server, Place(host=entry["addr"], user="root"), login, PATIENCE, context) as host:
            yield host
    finally:
        close_cloud(cloud)


@pytest.fixture(scope="module")
def desk(member: Member, guest: Guest) -> Desk:
    """Of a service in the guest, whose operator has said which server it runs in."""
    for service in SERVICES:
        port = member.cloud.url(service).rpartition(":")[2]
        guest.tunnel("-R", f"127.0.0.1:{port}:127.0.0.1:{port}")
    servers = f"[here]\nauth_url = {member.info['auth_url']}\nserver = {guest.server.id}\n"
    guest.write(f"{PLACE}/etc/own-servers.ini", servers)
    guest.write(f"{PLACE}/etc/coriolis.conf", OPTIONS)
    command = f"{BIN}/coriolis-standalone --config-file /etc/coriolis.conf --state-dir /var/lib/coriolis --port {PORT}"
    guest.run("sh", "-c", f"setsid chroot {PLACE} {command} </dev/null >{PLACE}/out 2>&1 &")
    told = json.loads(wait_for(lambda: told_by(guest), PATIENCE))
    guest.tunnel("-L", f"127.0.0.1:{PORT}:127.0.0.1:{PORT}")
    made = Desk(Service(connect_url(told["url"], guest.enter("cat", told["token_file"]).strip())))
    wait_for(lambda: any(one["status"] == "UP" for one in made.ask("GET", "/services")["services"]), PATIENCE)
    return made


def told_by(guest: Guest) -> str:
    time.sleep(2)  # each look costs the guest a process
    return guest.run("sh", "-c", f"cat {PLACE}/var/lib/coriolis/standalone.json 2>/dev/null || true")


def volumes_at(member: Member, server: Any) -> set[str]:
    return {str(one.volume_id) for one in member.sdk.compute.volume_attachments(server)}


def test_volumes_are_read_and_written_at_the_workers_own_server(member: Member, guest: Guest, desk: Desk) -> None:
    """Also after a death in their midst: the disks of the dead attempt are taken away, and others attached."""
    source = member.volume("mover-boot", "fast", content.GUEST_IMAGE)
    server = member.boot(NAME, "10.88.15.42", "fa:16:3e:88:15:42", [source])
    member.until_said(server, "coriolis-guest: ready")
    own = volumes_at(member, guest.server)
    path = desk.submit(
        "migration",
        desk.endpoint("openstack", member.info),
        desk.endpoint("openstack", member.info),
        NAME,
        network_map={"site": "site"},
        storage_mappings={"default": "slow"},
        shutdown_instances=True,
        destination_environment={
            "verification": "full",
            "server_name": "moved",
            "keep_mac_addresses": False,
            "zeroed_volume_types": ["slow"],
        },
    )
    first = wait_for(lambda: two_more(member, guest, own), PATIENCE)
    pid = str(json.loads(told_by(guest))["pid"])
    assert guest.run("sh", "-c", KILL, "kill", pid).split(), "there was no attempt to kill"
    done = desk.finished(path, "migration")
    (disk,) = done["transfer_result"][NAME]["integrity"]["disks"]
    assert disk["source_digest"] == disk["target_digest"]
    assert volumes_at(member, guest.server) == own
    said = member.until_said(member.server("moved"), "coriolis-guest: ready")
    assert "coriolis-guest: boot 2" in said
    assert member.ours() == ["port", "server", "volume"]
    (arrived,) = member.server("moved").attached_volumes
    assert worker.MARK not in member.sdk.block_storage.get_volume(arrived.id).metadata
    assert arrived.id in first


def two_more(member: Member, guest: Guest, own: set[str]) -> set[str] | None:
    """The volume that is read and the one that is written, when the worker has both."""
    time.sleep(1)
    more = volumes_at(member, guest.server) - own
    return more if len(more) == 2 else None
