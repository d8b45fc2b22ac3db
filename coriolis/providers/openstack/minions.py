# SPDX-License-Identifier: Apache-2.0
"""Minions: small servers of ours, made from an image that the operator names.

All that belongs to one carries its key: the server as a Nova tag, its port and floating address in their description,
its security group and keypair in their name. It has a config drive, so that it needs no metadata service.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import socket
from typing import Any

from coriolis.providers.api import (
    Conflict,
    Context,
    Environment,
    Gone,
    Invalid,
    Layout,
    Minion,
    PlannedNic,
    Unavailable,
)
from coriolis.providers.openstack import power
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.flavors import Flavor, called, list_flavors
from coriolis.providers.openstack.kept import listed
from coriolis.providers.openstack.ports import delete_ports, ensure_floating_address, ensure_ports
from coriolis.providers.openstack.quotas import Needs
from coriolis.providers.openstack.tags import metadata, tag
from coriolis.providers.openstack.waits import wait_until

EPOCH = "coriolis_epoch"  # metadata item of a server: the attempt that made it
SERVER_SECONDS = 900
_SSH_PORT = 22
_CONNECT_SECONDS = 3.0
_GIB = 1 << 30
_OF_RECIPE = ("minion_", "server_seconds")  # fields of an environment
_GROUP_RULES = 4  # of a group of our own: two of Neutron's, two of ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a minion is made of; ids of the cloud. ``security_group`` None: one of its own."""

    image: str
    flavor: Flavor
    network: str
    network_name: str
    username: str
    floating_network: str | None = None
    security_group: str | None = None
    zone: str | None = None
    seconds: float = SERVER_SECONDS

    @property
    def needs(self) -> Needs:
        """What one takes from the quotas. Not the keypair: Nova tells nobody how many a user has."""
        own = self.security_group is None
        return Needs(
            compute={"instances": 1, "cores": self.flavor.vcpus, "ram": self.flavor.ram},
            network={
                "port": 1,
                "floatingip": int(self.floating_network is not None),
                "security_group": int(own),
                "security_group_rule": _GROUP_RULES * own,
            },
        )


class OpenStackMinions:
    """Minions of pools."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, name: str, key: str, environment: Environment, context: Context) -> Minion:
        recipe = read_recipe(self._cloud, environment)
        found = find(self._cloud, key)
        server = found[0] if found else boot(self._cloud, name, key, recipe, context)
        return self._ready(server, recipe, context)

    def check(self, ref: str, environment: Environment, context: Context) -> Minion:
        server = power.server_of(self._cloud, ref)
        return self._ready(server, read_recipe(self._cloud, environment), context)

    def stop(self, ref: str, context: Context) -> None:
        with contextlib.suppress(Gone):
            power.stop(self._cloud, power.server_of(self._cloud, ref), SERVER_SECONDS, context)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        remove(self._cloud, key, context)

    def _ready(self, server: Any, recipe: Recipe, context: Context) -> Minion:
        try:
            server = power.start(self._cloud, server, recipe.seconds, context)
        except Conflict as error:
            raise Unavailable(error.message) from error
        address = address_of(server, recipe)
        wait_until(
            lambda: True if _answers(address) else None,
            what=f"minion {server.name} runs, but its SSH server did not answer at {address}",
            seconds=recipe.seconds,
            context=context,
        )
        return Minion(
            ref=server.id,
            name=server.name,
            running=True,
            address={"ip": address, "port": _SSH_PORT, "username": recipe.username},
        )


# ---- what it is made of -----------------------------------------------------------------------------------------


def read_recipe(cloud: Cloud, environment: Environment) -> Recipe:
    """:raises Invalid: something that the environment names is not there; says which field"""
    image = _image(cloud, str(environment.get("minion_image") or ""))
    network = _network(cloud, "minion_network", str(environment.get("minion_network") or ""))
    outside = environment.get("minion_floating_network")
    group = environment.get("minion_security_group")
    return Recipe(
        image=image.id,
        flavor=_flavor(cloud, environment.get("minion_flavor"), image),
        network=network.id,
        network_name=network.name,
        username=str(environment.get("minion_username") or "root"),
        floating_network=_network(cloud, "minion_floating_network", str(outside)).id if outside else None,
        security_group=_group(cloud, str(group)) if group else None,
        zone=environment.get("minion_availability_zone"),
        seconds=float(environment.get("server_seconds") or SERVER_SECONDS),
    )


def _image(cloud: Cloud, wanted: str) -> Any:
    with translated(f"looking for image {wanted}"):
        found = cloud.sdk.image.find_image(wanted, ignore_missing=True) if wanted else None
    if found is None or found.status != "active":
        raise Invalid(f"minion_image: {cloud.name} has no active image {wanted or '(none given)'}")
    return found


def _network(cloud: Cloud, field: str, wanted: str) -> Any:
    with translated(f"looking for network {wanted}"):
        found = cloud.sdk.network.find_network(wanted, ignore_missing=True) if wanted else None
    if found is None:
        raise Invalid(f"{field}: {cloud.name} has no network {wanted or '(none given)'}")
    return found


def _group(cloud: Cloud, wanted: str) -> str:
    with translated(f"looking for security group {wanted}"):
        found = cloud.sdk.network.find_security_group(wanted, ignore_missing=True, project_id=cloud.project_id)
    if found is None:
        raise Invalid(f"minion_security_group: the project has no security group {wanted}")
    return str(found.id)


def kept_recipe(cloud: Cloud, environment: Environment, context: Context) -> Recipe:
    """The same for a minute, for all instances of a job. :raises Invalid: as `read_recipe`"""
    wanted = sorted((name, value) for name, value in environment.items() if name.startswith(_OF_RECIPE))
    what = "minion-" + hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:32]

    def ask() -> dict[str, Any]:
        return dataclasses.asdict(read_recipe(cloud, environment))

    found = listed(cloud, "compute", what, ask, context, has=lambda _: True)
    return Recipe(**{**found, "flavor": Flavor(**found["flavor"])})


def _flavor(cloud: Cloud, wanted: str | None, image: Any) -> Flavor:
    flavors = list_flavors(cloud)
    found = called(flavors, wanted) if wanted else smallest_flavor(flavors, image)
    if found is not None:
        return found
    if wanted:
        raise Invalid(f"minion_flavor: {cloud.name} has no flavor {wanted}")
    raise Invalid(f"minion_flavor: no flavor of {cloud.name} is large enough for image {image.name}; name one")


def smallest_flavor(flavors: list[Flavor], image: Any) -> Flavor | None:
    """The least memory, then CPUs, that the image asks for, with a disk that holds it. Plain ones first: extra specs
    may ask for special hardware."""
    disk = max(int(image.min_disk or 0) * _GIB, int(image.virtual_size or image.size or 0))
    fitting = [one for one in flavors if one.ram >= int(image.min_ram or 0) and one.disk * _GIB >= disk]
    return min(fitting, key=lambda one: (one.special, one.ram, one.vcpus, one.disk, one.name), default=None)


# ---- made and removed -------------------------------------------------------------------------------------------


def find(cloud: Cloud, key: str) -> list[Any]:
    """Servers with the key, oldest first."""
    with translated("looking for minions of ours"):
        return sorted(cloud.sdk.compute.servers(tags=tag(key)), key=lambda one: (str(one.created_at), str(one.id)))


def boot(cloud: Cloud, name: str, key: str, recipe: Recipe, context: Context, *, public_key: str | None = None) -> Any:
    """The server, running. ``public_key`` may log in; the keypair is removed as soon as the server has it.

    :raises Conflict: it ends in an error; says why. What was made stays, to be removed by the key
    """
    mark = tag(key)
    group = recipe.security_group or _own_group(cloud, mark)
    nic = PlannedNic(nic_id="nic", network=recipe.network, properties={"security_groups": [group]})
    (port,) = ensure_ports(cloud, Layout(name=name, disks=(), nics=(nic,)), key)
    if recipe.floating_network:
        ensure_floating_address(cloud, recipe.floating_network, port, key)
    context.check_cancelled()
    body: dict[str, Any] = {
        "name": name,
        "image_id": recipe.image,
        "flavor_id": recipe.flavor.id,
        "networks": [{"port": port}],
        "tags": [mark],
        "metadata": {**metadata(key), EPOCH: str(context.epoch)},
        "config_drive": True,
    }
    if recipe.zone:
        body["availability_zone"] = recipe.zone
    if public_key:
        _import_key(cloud, mark, public_key)
        body["key_name"] = mark
    with translated(f"making minion {name}"):
        server = cloud.sdk.compute.create_server(**body)
    server = power.start(cloud, server, recipe.seconds, context)
    if public_key:
        _remove_key(cloud, mark)
    return server


def remove(cloud: Cloud, key: str, context: Context) -> None:
    """The minion with all that was made for it. Content when there is nothing."""
    for server in find(cloud, key):
        power.delete(cloud, server, SERVER_SECONDS, context)
    delete_ports(cloud, key)
    _remove_key(cloud, tag(key))
    with translated("removing the security group of a minion"):
        for group in list(cloud.sdk.network.security_groups(name=tag(key), project_id=cloud.project_id)):
            _remove_group(cloud, group.id, context)


def address_of(server: Any, recipe: Recipe) -> str:
    """Where a worker reaches it: the floating address, otherwise the one in its network; IPv4 if it has one."""
    entries = [entry for entries in (server.addresses or {}).values() for entry in entries]
    kind = "floating" if recipe.floating_network else "fixed"
    fitting = [entry for entry in entries if entry.get("OS-EXT-IPS:type", "fixed") == kind]
    if not fitting:
        raise Unavailable(f"minion {server.name} has no {kind} address in network {recipe.network_name}")
    return str(min(fitting, key=lambda entry: int(entry.get("version", 4)))["addr"])


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, _SSH_PORT), _CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _own_group(cloud: Cloud, mark: str) -> str:
    """Lets SSH in, and nothing else."""
    with translated("making the security group of a minion"):
        found = next(iter(cloud.sdk.network.security_groups(name=mark, project_id=cloud.project_id)), None)
        found = found or cloud.sdk.network.create_security_group(name=mark, description=mark)
        open_already = {rule.get("ethertype") for rule in found.security_group_rules or () if rule.get("protocol")}
        for family in ("IPv4", "IPv6"):
            if family not in open_already:
                cloud.sdk.network.create_security_group_rule(
                    security_group_id=found.id, direction="ingress", ethertype=family, protocol="tcp",
                    port_range_min=_SSH_PORT, port_range_max=_SSH_PORT,
                )  # fmt: skip
    return str(found.id)


def _remove_group(cloud: Cloud, group: str, context: Context) -> None:
    """Neutron may take a moment to see that its last port is gone."""

    def look() -> bool | None:
        try:
            with translated(f"removing security group {group}"):
                cloud.sdk.network.delete_security_group(group, ignore_missing=True)
        except Conflict:
            return None
        return True

    wait_until(look, what=f"security group {group} stayed in use", seconds=SERVER_SECONDS, context=context)


def _import_key(cloud: Cloud, name: str, public_key: str) -> None:
    _remove_key(cloud, name)  # of an attempt whose private half is lost
    with translated("importing the public key of a minion"):
        cloud.sdk.compute.create_keypair(name=name, public_key=public_key, key_type="ssh")


def _remove_key(cloud: Cloud, name: str) -> None:
    with translated("removing the keypair of a minion"):
        cloud.sdk.compute.delete_keypair(name, ignore_missing=True)
