# SPDX-License-Identifier: Apache-2.0
"""Servers: made from an instance and its volumes on a destination, started and stopped on both sides.

``create`` makes the ports and the floating address, ``start`` the server (see ``intent``). Volumes are never removed
with a server, not by Nova either: ``delete_on_termination`` is off.
"""

from __future__ import annotations

import base64
from typing import Any

from coriolis.providers.api import (
    Conflict,
    Context,
    Deployed,
    Environment,
    Gone,
    Instance,
    Layout,
    ProviderError,
    Volume,
)
from coriolis.providers.openstack import console, power
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.flavors import delete_flavor, ensure_flavor
from coriolis.providers.openstack.intent import Intent, from_ref, to_ref
from coriolis.providers.openstack.ports import delete_ports, ensure_floating_address, ensure_ports
from coriolis.providers.openstack.tags import metadata, tag
from coriolis.providers.openstack.volumes import dress
from coriolis.providers.openstack.writing import give_away

_SERVER_SECONDS = 900.0
_CONSOLE_LINES = 40


class OpenStackCompute:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        refs = {volume.disk_id: volume.ref for volume in volumes}
        missing = [disk.disk_id for disk in layout.disks if disk.disk_id not in refs]
        if missing:
            raise Gone(f"no volume was made for disk {missing[0]}")
        new = key in context.new_keys
        server = None if new else next(iter(self._marked(tag(key))), None)
        if server is None:
            give_away(self._cloud, volumes, context)
            self._dress(layout, refs)
        planned = layout.properties["flavor"]
        flavor = ensure_flavor(self._cloud, planned, tag(key))
        context.check_cancelled()
        ports = ensure_ports(self._cloud, layout, key, new=new)
        external = layout.properties.get("floating_network")
        if external:
            address = ensure_floating_address(self._cloud, external, ports[0], key, new=new)
            context.event("INFO", f"The new server has the floating address {address}.")
        intent = Intent(
            mark=tag(key),
            server={
                "name": layout.name,
                "flavor_id": flavor,
                "networks": [{"port": port} for port in ports] or "none",
                "block_device_mapping": block_devices(layout, refs),
                "tags": [*environment.get("tags", ()), tag(key)],
                "metadata": {**environment.get("metadata", {}), **metadata(key)},
                "config_drive": bool(environment.get("config_drive", False)),
                **optional_fields(layout, environment),
            },
            flavor=None if planned.get("id") else planned,
            seconds=float(environment.get("server_seconds", _SERVER_SECONDS)),
        )
        running = server is not None and server.status in power.RUNNING
        return Deployed(ref=to_ref(intent), name=layout.name, running=running)

    def _dress(self, layout: Layout, refs: dict[str, str]) -> None:
        """The volumes of a replica were made as an earlier plan had it; hardware may have been chosen since."""
        for disk in layout.disks:
            if disk.boot:
                with translated(f"reading volume {refs[disk.disk_id]}"):
                    volume = self._cloud.cinder.get_volume(refs[disk.disk_id])
                dress(self._cloud, volume, disk)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        intent = from_ref(ref) if isinstance(ref, str) else None
        seconds = _SERVER_SECONDS if intent is None else intent.seconds
        for server in self._marked(tag(key)):
            power.delete(self._cloud, server, seconds, context)
        delete_ports(self._cloud, key)
        if intent is None or intent.flavor is not None:
            delete_flavor(self._cloud, key)

    def is_running(self, ref: str, context: Context) -> bool:
        intent = from_ref(ref)
        server = power.server_of(self._cloud, ref) if intent is None else self._find(intent)
        return server is not None and server.status in power.RUNNING

    def start(self, ref: str, context: Context) -> Deployed:
        intent = from_ref(ref)
        if intent is None:
            server = power.start(self._cloud, power.server_of(self._cloud, ref), _SERVER_SECONDS, context)
        else:
            server = self._find(intent) or self._make(intent)
            server = self._started(server, intent, context)
        return Deployed(
            ref=str(server.id),
            name=str(server.name),
            running=True,
            console=f"openstack console log show {server.id}",
        )

    def stop(self, ref: str, context: Context) -> None:
        intent = from_ref(ref)
        server = power.server_of(self._cloud, ref) if intent is None else self._find(intent)
        if server is not None:
            power.stop(self._cloud, server, _SERVER_SECONDS if intent is None else intent.seconds, context)

    def _find(self, intent: Intent) -> Any | None:
        """The oldest that is no failure: a request that was sent twice may have made two; one has the ports."""
        found = sorted(self._marked(intent.mark), key=lambda one: (one.status == "ERROR", str(one.created_at)))
        return next(iter(found), None)

    def _marked(self, mark: str) -> list[Any]:
        with translated("looking for servers of ours"):
            return list(self._cloud.sdk.compute.servers(tags=mark))

    def _make(self, intent: Intent) -> Any:
        server = intent.server
        if intent.flavor is not None:
            # Perhaps another instance of this size was given up since, and its flavor removed.
            server = {**server, "flavor_id": ensure_flavor(self._cloud, intent.flavor, intent.mark)}
        try:
            with translated(f"making server {server['name']}"):
                return self._cloud.sdk.compute.create_server(**server)
        except ProviderError:
            found = self._find(intent)  # the answer was lost, and the request sent once more
            if found is None:
                raise
            return found

    def _started(self, server: Any, intent: Intent, context: Context) -> Any:
        """Runs, or is removed again: what could not be built does not come up later, and holds the volumes."""
        new = server.status in (None, "BUILD", "ERROR")
        try:
            server = power.start(self._cloud, server, intent.seconds, context)
        except Conflict:
            if new:
                power.delete(self._cloud, server, intent.seconds, context)
            raise
        if new:
            self._listen(server, context)
        return server

    def _listen(self, server: Any, context: Context) -> None:
        """Says what the console tells of how the guest comes up."""

        def read() -> str:
            with translated(f"reading the console of server {server.name}"):
                answer = self._cloud.sdk.compute.get_server_console_output(server, length=_CONSOLE_LINES)
            return str(answer.get("output") or "")

        def wait(seconds: float) -> None:
            if context.cancelled.wait(seconds):
                context.check_cancelled()

        try:
            said = console.listen(read, wait)[-1]
        except ProviderError as error:
            context.log.info("no console output: %s", error)
            return
        bad = console.bad_sign(said)
        if bad:
            context.event("WARNING", f"Server {server.name} runs, but its console says: {bad}.")
        elif not said.strip():
            context.event("INFO", f"Server {server.name} runs; it has printed nothing on its serial console yet.")


def block_devices(layout: Layout, refs: dict[str, str]) -> list[dict[str, Any]]:
    """The boot volume first, then the others in their order. ``refs``: disk to volume."""
    ordered = sorted(layout.disks, key=lambda disk: not disk.boot)
    return [
        {
            "source_type": "volume",
            "destination_type": "volume",
            "uuid": refs[disk.disk_id],
            "boot_index": 0 if number == 0 else -1,
            "delete_on_termination": False,
        }
        for number, disk in enumerate(ordered)
    ]


def optional_fields(layout: Layout, environment: Environment) -> dict[str, Any]:
    """Fields of the request that are there only when they say something."""
    found: dict[str, Any] = {}
    if environment.get("availability_zone"):
        found["availability_zone"] = environment["availability_zone"]
    if layout.properties.get("keypair"):
        found["key_name"] = layout.properties["keypair"]
    if environment.get("user_data"):
        found["user_data"] = base64.b64encode(str(environment["user_data"]).encode()).decode("ascii")
    if layout.properties.get("server_group"):
        found["scheduler_hints"] = {"group": layout.properties["server_group"]}
    return found
