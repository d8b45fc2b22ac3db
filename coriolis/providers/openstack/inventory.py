# SPDX-License-Identifier: Apache-2.0
"""The servers of a project as instances.

A listing costs one call for each page of Nova (and one for each hundred images of the page), none for a single server.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from openstack import exceptions as sdk_errors

from coriolis.providers.api import Conflict, Context, Environment, Gone, Instance, InstanceSummary
from coriolis.providers.openstack import instances
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import status_of, translated

_PAGE = 1000  # what Nova gives at most, as it is shipped
_IDS_PER_CALL = 100  # that fit into a URL
_MANY = 1 << 62


@dataclass(frozen=True)
class Seen:
    """What was asked for one instance and serves the next, in this connection: an export reads all of them in one.
    ``networks``: id to name; ``images``: None for one that is gone."""

    networks: dict[str, str] = field(default_factory=dict)
    images: dict[str, Any | None] = field(default_factory=dict)


class OpenStackInventory:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._seen = Seen()

    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        found: list[InstanceSummary] = []
        wanted = _MANY if limit is None else limit
        for page in self._pages(marker, wanted, name, context):
            properties = self._image_properties(page)
            found += [instances.summary(server, properties.get(instances.image_id(server) or "")) for server in page]
            if len(found) >= wanted:
                break
        return found[:limit]

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        return read_instance(self._cloud, find_server(self._cloud, name, context), self._seen, context)

    def _pages(self, marker: str | None, wanted: int, name: str | None, context: Context) -> Iterator[list[Any]]:
        """Pages of matching servers in the order of their ids."""
        pattern = None if name is None else any_case(name)
        asked, after = marker, marker
        size = min(_PAGE, max(1, wanted)) if name is None or pattern else _PAGE
        while True:
            context.check_cancelled()
            servers = self._page(asked, size, pattern)
            if servers is None:  # the marker is gone: from the start, and skip
                asked, size = None, _PAGE
                continue
            yield [
                server
                for server in servers
                if (after is None or server.id > after) and (name is None or name.casefold() in server.name.casefold())
            ]
            if not servers:
                return
            asked = servers[-1].id

    def _page(self, marker: str | None, size: int, pattern: str | None) -> list[Any] | None:
        """None when there is no server ``marker``."""
        query: dict[str, Any] = {"sort_key": "uuid", "sort_dir": "asc", "limit": size}
        query |= {"marker": marker} if marker else {}
        query |= {"name": pattern} if pattern else {}
        with translated(f"listing the servers of {self._cloud.name}"):
            try:
                return list(self._cloud.sdk.compute.servers(details=True, paginated=False, **query))
            except sdk_errors.HttpException as error:
                if marker is not None and status_of(error) in (400, 404):
                    return None
                raise

    def _image_properties(self, servers: Iterable[Any]) -> dict[str, dict[str, Any]]:
        """Image id -> properties; ids of images that are gone are missing."""
        ids = sorted({image for server in servers if (image := instances.image_id(server))})
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _IDS_PER_CALL):
            some = ids[start : start + _IDS_PER_CALL]
            with translated(f"listing the images of {self._cloud.name}"):
                query = {"id": "in:" + ",".join(some), "limit": _IDS_PER_CALL, "paginated": False}
                images = list(self._cloud.sdk.image.images(**query))
            found |= {str(image.id): instances.properties_of(image) for image in images}
        return found


def any_case(text: str) -> str | None:
    """A regular expression that finds ``text`` in any case, in every database that Nova runs on (their own rules of
    case differ). None when case is not as simple as in ASCII; the answers are filtered in any event."""
    if not text.isascii():
        return None
    return "".join(_letter(letter) for letter in text)


def _letter(letter: str) -> str:
    if letter.isalpha():
        return f"[{letter.lower()}{letter.upper()}]"
    if letter.isalnum() or letter in " _-":
        return letter
    return f"\\{letter}" if letter in "^\\" else f"[{letter}]"  # a caret alone in brackets is no letter


def find_server(cloud: Cloud, name: str, context: Context) -> Any:
    """By id, otherwise by name. :raises Gone: there is none. :raises Conflict: there are several"""
    context.check_cancelled()
    if _is_id(name) and (found := get_server(cloud, name)) is not None:
        return found
    pattern = any_case(name)
    with translated(f"looking for server {name}"):
        query: dict[str, Any] = {"name": f"^{pattern}$"} if pattern else {}
        matching = [server for server in cloud.sdk.compute.servers(details=False, **query) if server.name == name]
    if not matching:
        raise Gone(f"{cloud.name} has no server {name} in this project")
    if len(matching) > 1:
        ids = ", ".join(sorted(server.id for server in matching))
        raise Conflict(f"{cloud.name} has {len(matching)} servers {name}; give an id: {ids}")
    found = get_server(cloud, str(matching[0].id))  # a listing has less: no server groups
    if found is None:
        raise Gone(f"server {name} of {cloud.name} has just been removed")
    return found


def get_server(cloud: Cloud, identifier: str) -> Any | None:
    """None when there is no such server."""
    with translated(f"reading server {identifier}"):
        try:
            return cloud.sdk.compute.get_server(identifier)
        except sdk_errors.NotFoundException:
            return None


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def read_instance(cloud: Cloud, server: Any, seen: Seen, context: Context) -> Instance:
    """Everything about a server. Calls: one for its ports, one for their networks, one for its image if it has one, and
    one for each of its volumes."""
    with translated(f"reading server {server.name}"):
        ports = list(cloud.sdk.network.ports(device_id=server.id))
        networks = sorted({port.network_id for port in ports} - seen.networks.keys())
        if networks:
            seen.networks.update({one.id: one.name for one in cloud.sdk.network.networks(id=networks)})
    volumes = []
    for attached in server.attached_volumes:
        context.check_cancelled()
        with translated(f"reading volume {attached.id} of server {server.name}"):
            volumes.append(cloud.cinder.get_volume(attached.id))
    identifier = instances.image_id(server)
    if identifier is not None and identifier not in seen.images:
        seen.images[identifier] = _image(cloud, identifier, server)
    return instances.instance(
        instances.Parts(
            server=server,
            volumes=volumes,
            ports=ports,
            image=None if identifier is None else seen.images[identifier],
            network_names=seen.networks,
        )
    )


def _image(cloud: Cloud, identifier: str, server: Any) -> Any | None:
    """None when Glance does not have the image any more, or not for us."""
    with translated(f"reading image {identifier} of server {server.name}"):
        try:
            return cloud.sdk.image.get_image(identifier)
        except (sdk_errors.NotFoundException, sdk_errors.ForbiddenException):
            return None
