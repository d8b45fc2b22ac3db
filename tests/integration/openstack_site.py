# SPDX-License-Identifier: Apache-2.0
"""A ``coriolis-standalone`` between clouds of the lab, whose operator lets it open the clouds' NFS shares; and what a
plain member of a project does and sees in these clouds."""

from __future__ import annotations

import dataclasses
import ipaddress
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import openstack

from coriolis.client import Proxy
from tests.lab import content
from tests.lab.fixtures import LabCloud
from tests.lab.leftovers import Owner, Thing, census, leftovers
from tests.lab.places import PASSWORD
from tests.service.standalone_process import wait_for

PATIENCE = 900.0
TAG = "coriolis-"
NETWORK = "site"
ENDED = ("COMPLETED", "CANCELED", "ERROR")
REMOVABLE = ("available", "error")
_STATUS = {"migration": "last_execution_status", "execution": "status", "deployment": "last_execution_status"}


def shares(clouds: Sequence[LabCloud]) -> str:
    """The operator's file of NFS shares for these clouds."""
    lines = []
    for cloud in clouds:
        for name in ("fast", "slow"):
            path = cloud.cloud.home.var / "cinder" / name
            lines.append(f"[{cloud.name}-{name}]\nauth_url = {cloud.auth()['auth_url']}\n")
            lines.append(f"export = 127.0.0.1:{path}\npath = {path}\n")
    return "".join(lines)


class Service(Protocol):
    """Whose API is asked: a standalone on this host, or one that was found in a catalog."""

    @property
    def client(self) -> Proxy: ...


@dataclasses.dataclass
class Desk:
    """Asks the service's API, as its user."""

    standalone: Service

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.standalone.client.request(path, method, json=body, raise_exc=False)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def endpoint(self, kind: str, info: dict[str, Any]) -> str:
        body = {"endpoint": {"name": kind, "type": kind, "connection_info": info}}
        return str(self.ask("POST", "/endpoints", body)["endpoint"]["id"])

    def ended(self, path: str, noun: str) -> dict[str, Any]:
        """How a migration, execution or deployment ended."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.ask("GET", path)[noun])
            return found[_STATUS[noun]] in ENDED

        wait_for(look, PATIENCE)
        return found

    def migrate(self, origin: str, destination: str, instance: str, **more: Any) -> dict[str, Any]:
        """A migration that has to succeed."""
        path = self.submit("migration", origin, destination, instance, **more)
        return self.finished(path, "migration")

    def move(
        self, origin: Member, destination: Member, name: str, storage: dict[str, Any], **environment: Any
    ) -> dict[str, Any]:
        """The migration of a running server to another cloud in two rounds, the second one of the stopped server; what
        arrived is what there was."""
        done = self.migrate(
            self.endpoint("openstack", origin.info),
            self.endpoint("openstack", destination.info),
            name,
            network_map={NETWORK: NETWORK},
            storage_mappings=storage,
            destination_environment={"verification": "full", **environment},
            replication_count=2,
            shutdown_instances=True,
        )
        assert origin.server(name).status == "SHUTOFF"
        for disk in done["transfer_result"][name]["integrity"]["disks"]:
            assert disk["source_digest"] == disk["target_digest"]
            assert disk["rounds"] == 2
        return done

    def submit(self, noun: str, origin: str, destination: str, instance: str, **more: Any) -> str:
        """The path of a new migration or transfer."""
        order = {
            "origin_endpoint_id": origin,
            "destination_endpoint_id": destination,
            "instances": [instance],
            **more,
        }
        made = self.ask("POST", f"/{noun}s", {noun: order})[noun]
        return f"/{noun}s/{made['id']}"

    def finished(self, path: str, noun: str) -> dict[str, Any]:
        """The same, and well."""
        done = self.ended(path, noun)
        assert done[_STATUS[noun]] == "COMPLETED", self.story(done)
        return done

    def executed(self, transfer: str, **options: Any) -> str:
        """The path of an execution that went well."""
        made = self.ask("POST", f"/transfers/{transfer}/executions", {"execution": options})["execution"]["id"]
        path = f"/transfers/{transfer}/executions/{made}"
        self.finished(path, "execution")
        return path

    def certified(self, path: str) -> list[dict[str, Any]]:
        """The disks in the certificate of a migration or execution of one instance."""
        (instance,) = self.ask("GET", f"{path}/certificate")["certificate"]["instances"]
        return list(instance["disks"])

    def rounds(self, path: str, *volumes: Any) -> list[list[dict[str, Any]]]:
        """What each round moved, of each of the volumes."""
        disks = {disk["disk_id"]: list(disk["rounds"]) for disk in self.certified(path)}
        return [disks[volume.id] for volume in volumes]

    @staticmethod
    def story(job: dict[str, Any]) -> list[str]:
        """What was told of a job, for a test that failed."""
        told = []
        for task in job.get("tasks") or ():
            told.append(f"{task['task_type']} {task['status']} {task.get('exception_details') or ''}")
            told += [f"    {line['message']}" for line in task.get("progress_updates") or ()]
            told += [f"    {line['message']}" for line in task.get("events") or ()]
        return told


@dataclasses.dataclass
class Member:
    """A plain member of a project of a cloud, with a network of its own. ``before``: all that there was."""

    cloud: LabCloud
    info: dict[str, Any]
    sdk: Any
    network: Any
    before: frozenset[Thing] = frozenset()

    @property
    def owner(self) -> Owner:
        return Owner(user=self.sdk.current_user_id, project=self.sdk.current_project_id)

    def server(self, name: str) -> Any:
        """The one server of that name."""
        (found,) = self.sdk.compute.servers(name=f"^{name}$")
        return self.sdk.compute.get_server(found.id)

    def until_said(self, server: Any, *words: str) -> str:
        """What the server's console had said when it had said all of the words."""
        deadline = time.monotonic() + PATIENCE
        while True:
            said = str(self.sdk.compute.get_server_console_output(server)["output"] or "")
            if all(word in said for word in words):
                return said
            assert time.monotonic() < deadline, said[-3000:]
            time.sleep(1)

    def boot(
        self, name: str, address: str, mac: str, volumes: Sequence[Any] = (), image: str = content.GUEST_IMAGE
    ) -> Any:
        """A running server with a port of that address: of the image, or from the first of ``volumes``."""
        subnet = self.network.subnet_ids[0]
        port = self.sdk.network.create_port(
            network_id=self.network.id,
            mac_address=mac,
            fixed_ips=[{"subnet_id": subnet, "ip_address": address}],
            name=name,
        )
        disks: dict[str, Any] = {"image_id": self.sdk.image.find_image(image).id}
        if volumes:
            kinds = {"source_type": "volume", "destination_type": "volume"}
            mapping = [{**kinds, "uuid": volume.id, "boot_index": -(n > 0)} for n, volume in enumerate(volumes)]
            disks = {"block_device_mapping": mapping}
        server = self.sdk.compute.create_server(
            name=name,
            flavor_id=self.sdk.compute.find_flavor("lab.small").id,
            networks=[{"port": port.id}],
            **disks,
        )
        return self.sdk.compute.wait_for_server(server, wait=PATIENCE)

    def volume(self, name: str, volume_type: str, image: str = content.MINION_IMAGE) -> Any:
        """A volume with the bytes of an image. A second one of the guest would be taken for its root: labels."""
        found = self.sdk.image.find_image(image)
        made = self.sdk.block_storage.create_volume(name=name, size=1, image_id=found.id, volume_type=volume_type)
        return self.sdk.block_storage.wait_for_status(made, "available", ["error"], interval=1, wait=PATIENCE)

    def ours(self) -> list[str]:
        """Kinds of all in the project, and of the member, that Coriolis made and that is still there; others may use
        the cloud, too. Of attachments those that no server has, as workers do: Cinder tells nobody their project. Of
        flavors also those that nobody may use yet."""
        found = leftovers(self.cloud, TAG, self.before, self.owner)
        project = self.sdk.current_project_id
        mine = [one.kind for one in found if one.project == project or (one.kind == "flavor" and not one.project)]
        mine += [thing.kind for thing in found if thing.id.startswith(f"{self.info['username']}/")]  # keypairs
        mine += ["attachment" for one in self.sdk.block_storage.attachments() if not one.instance]
        return sorted(mine)

    def seen(self) -> list[str]:
        """The same as far as the member sees it himself: quicker, for after each of many tests."""
        sdk, project = self.sdk, self.sdk.current_project_id
        found = {
            "server": sdk.compute.servers(),
            "keypair": sdk.compute.keypairs(),
            "volume": sdk.block_storage.volumes(),
            "snapshot": sdk.block_storage.snapshots(),
            "image": sdk.image.images(owner=project),
            "port": sdk.network.ports(project_id=project),
            "floating address": sdk.network.ips(project_id=project),
            "security group": sdk.network.security_groups(project_id=project),
        }
        ours = [kind for kind, things in found.items() for one in things if TAG in str(one.to_dict())]
        ours += ["attachment" for one in sdk.block_storage.attachments() if not one.instance]
        return sorted(ours)

    def clear(self) -> None:
        """Removes the servers, snapshots, volumes and ports of the project."""
        for server in list(self.sdk.compute.servers()):
            self.sdk.compute.delete_server(server)
        wait_for(lambda: not list(self.sdk.compute.servers()), PATIENCE)
        for port in list(self.sdk.network.ports(network_id=self.network.id)):
            if not port.device_owner.startswith("network:"):
                self.sdk.network.delete_port(port, ignore_missing=True)
        wait_for(self._storage_is_clear, PATIENCE)

    def _storage_is_clear(self) -> bool:
        """Removes what it finds, once the rest lets it: a snapshot holds its volume, and may be held by its copies."""
        storage = self.sdk.block_storage
        snapshots, volumes = list(storage.snapshots()), list(storage.volumes())
        held = {snapshot.volume_id for snapshot in snapshots}
        for snapshot in snapshots:
            if snapshot.status in REMOVABLE:
                storage.delete_snapshot(snapshot)
        for volume in volumes:
            if volume.status in REMOVABLE and volume.id not in held:
                storage.delete_volume(volume)
        return not snapshots and not volumes


@contextmanager
def member_of(cloud: LabCloud, cidr: str, *, called: str = "site") -> Iterator[Member]:
    """With a project whose name begins so, and in it a network of that range. Everything is removed at the end, and
    ours is gone then."""
    name = f"{called}-{uuid.uuid4().hex[:8]}"
    with cloud.connect() as admin:
        project = admin.identity.create_project(name=name, domain_id="default")
        user = admin.identity.create_user(name=name, password=PASSWORD, domain_id="default")
        admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))
        info: dict[str, Any] = {**cloud.auth(), "username": name, "project_name": name, "region_name": cloud.region}
        try:
            with openstack.connect(**info, load_yaml_config=False, load_envvars=False) as sdk:
                yield from _working(Member(cloud, info, sdk, _network(sdk, cidr)))
        finally:
            for group in admin.network.security_groups(project_id=project.id):
                admin.network.delete_security_group(group)
            admin.identity.delete_user(user)
            admin.identity.delete_project(project)


def _network(sdk: Any, cidr: str) -> Any:
    network = sdk.network.create_network(name=NETWORK)
    gateway = str(ipaddress.ip_network(cidr)[1])
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr=cidr, gateway_ip=gateway)
    return sdk.network.get_network(network)


def _working(member: Member) -> Iterator[Member]:
    member.before = census(member.cloud, member.owner)
    try:
        yield member
    finally:
        member.clear()
        left = member.ours()
        member.sdk.network.delete_network(member.network)
    assert left == []


def scratch_file(folder: Path, text: str) -> Path:
    path = folder / "shares.ini"
    path.write_text(text)
    return path
