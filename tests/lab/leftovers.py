# SPDX-License-Identifier: Apache-2.0
"""What a migration left in a cloud: everything with our tag, in every project, as the admin sees it.

A thing has the tag when any of its values contains it: name, description, metadata, tags. Trusts and the attachment
records of Cinder can carry none, so they count when they were not there ``before``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keystoneauth1.exceptions
import openstack

from tests.lab import content
from tests.lab.fixtures import LabCloud

Lister = Callable[[Any], Iterable[Any]]
# What carries no text of ours.
UNTAGGED = frozenset({"trust", "attachment"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
    """A user and a project, by their ids."""

    user: str
    project: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """``text``: all that the cloud says of it."""

    kind: str
    id: str
    name: str
    project: str
    text: str = dataclasses.field(repr=False, compare=False, default="")


def _raw(service: str, path: str, name: str) -> Lister:
    """A list that the library has no words for."""

    def listed(connection: Any) -> Iterable[Any]:
        microversion = "3.59" if service == "block_storage" else None
        return list(getattr(connection, service).get(path, microversion=microversion).json()[name])

    return listed


def _flavors(connection: Any) -> Iterator[Any]:
    """One that is not public once for each project that may use it."""
    for flavor in connection.compute.flavors(is_public=None, get_extra_specs=True):
        with contextlib.suppress(openstack.exceptions.NotFoundException):  # another session removed it meanwhile
            users = () if flavor.is_public else connection.compute.get_flavor_access(flavor.id)
            for project in [user["tenant_id"] for user in users] or [""]:
                yield {**flavor.to_dict(), "project_id": project}


_LISTERS: Mapping[str, Lister] = {
    "server": lambda connection: connection.compute.servers(all_projects=True),
    "flavor": _flavors,
    "server group": lambda connection: connection.compute.server_groups(all_projects=True),
    "volume": lambda connection: connection.block_storage.volumes(all_projects=True),
    "snapshot": lambda connection: connection.block_storage.snapshots(all_projects=True),
    "backup": lambda connection: connection.block_storage.backups(all_projects=True),
    "volume type": lambda connection: connection.block_storage.types(),
    "attachment": _raw("block_storage", "/attachments?all_tenants=1", "attachments"),
    "image": lambda connection: connection.image.images(visibility="all"),
    "hidden image": lambda connection: connection.image.images(is_hidden=True),
    "port": lambda connection: connection.network.ports(),
    "network": lambda connection: connection.network.networks(),
    "router": lambda connection: connection.network.routers(),
    "floating address": lambda connection: connection.network.ips(),
    "security group": lambda connection: connection.network.security_groups(),
    "trust": _raw("identity", "/OS-TRUST/trusts", "trusts"),
}


def _of_user(connection: Any, user: Any) -> Iterator[Thing]:
    for pair in connection.compute.keypairs(user_id=user.id):
        yield _thing("keypair", {"id": f"{user.name}/{pair.name}", "name": pair.name, "user": user.name})
    for one in connection.identity.application_credentials(user.id):
        yield _thing("application credential", one)


def census(cloud: LabCloud, owner: Owner | None = None) -> frozenset[Thing]:
    """Everything in the cloud now; with ``owner``, only his of what has to be asked for of each user and project."""
    with cloud.connect() as connection:
        identity = connection.identity
        users = [identity.get_user(owner.user)] if owner else list(identity.users())
        projects = [identity.get_project(owner.project)] if owner else list(identity.projects())
        found = [_thing(kind, entry) for kind, lister in _LISTERS.items() for entry in lister(connection)]
        for user in users:
            found += _of_user(connection, user)
        return frozenset([*found, *_secrets(cloud, connection, projects)])


def leftovers(
    cloud: LabCloud, tag: str, before: frozenset[Thing] = frozenset(), owner: Owner | None = None
) -> list[Thing]:
    """What has the tag and was not there ``before``, and what cannot have one and is new; empty when all is clean."""
    new = census(cloud, owner) - before
    found = [thing for thing in new if tag in thing.text or (thing.kind in UNTAGGED and before)]
    return sorted(found, key=lambda thing: (thing.kind, thing.name, thing.id))


def _thing(kind: str, entry: Any) -> Thing:
    facts = entry if isinstance(entry, dict) else entry.to_dict()
    project = facts.get("project_id") or facts.get("owner_id") or facts.get("owner") or ""
    name = str(facts.get("name") or "")
    return Thing(kind=kind, id=str(facts.get("id")), name=name, project=project, text=json.dumps(facts, default=str))


def _secrets(cloud: LabCloud, connection: Any, projects: Iterable[Any]) -> Iterator[Thing]:
    """Barbican lists the secrets of the token's project only: the admin becomes admin of each project for this."""
    admin = connection.current_user_id
    role = connection.identity.find_role("admin")
    for project in projects:
        try:
            connection.identity.assign_project_role_to_user(project, admin, role)
            found = _secrets_of(cloud, project)
        except (keystoneauth1.exceptions.HttpError, openstack.exceptions.SDKException):
            if connection.identity.find_project(project.id, ignore_missing=True):
                raise
            continue  # another session removed it meanwhile
        yield from found


def _secrets_of(cloud: LabCloud, project: Any) -> list[Thing]:
    with content.connect(cloud.cloud, "admin", project.name) as scoped:
        answer = scoped.session.get(cloud.url("barbican", "/v1/secrets?limit=1000"))
    return [
        Thing(
            kind="secret",
            id=secret["secret_ref"].rpartition("/")[2],
            name=str(secret.get("name") or ""),
            project=project.id,
            text=json.dumps(secret),
        )
        for secret in answer.json()["secrets"]
    ]
