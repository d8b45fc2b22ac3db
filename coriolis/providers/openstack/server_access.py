# SPDX-License-Identifier: Apache-2.0
"""Which servers of which clouds this worker is: said by the operator in a file, never by a user.

Nova attaches volumes to a server by its id, and tells nobody which of them a program runs in. That the operator says so
is also the leave to have users' volumes attached to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from coriolis.providers.api import Invalid
from coriolis.providers.openstack.keystones import same_keystone
from coriolis.providers.openstack.operator_file import read_sections

#: Environment variable of the worker: the path of the operator's file. Unset: the worker is no server of any cloud.
SERVERS = "CORIOLIS_OPENSTACK_OWN_SERVERS"

_FIELDS = {"auth_url", "server"}


@dataclass(frozen=True, kw_only=True)
class OwnServer:
    """A section of the file. ``auth_url``: of the cloud's Keystone. ``server``: the id that the worker has there."""

    name: str
    auth_url: str
    server: str


def read_servers(path: str | None) -> tuple[OwnServer, ...]:
    """All sections of the operator's file; none without a file. :raises Invalid: it cannot be used; says where"""
    sections = read_sections(path, "own server", fields=_FIELDS, needed=_FIELDS)
    servers: list[OwnServer] = []
    for name, fields in sections:
        if not is_id(fields["server"]):
            raise Invalid(f"own server [{name}]: {fields['server']!r} is no id of a server; Nova's are UUIDs")
        if server_of(servers, fields["auth_url"]) is not None:
            raise Invalid(f"own server [{name}]: another section has the same cloud, and a worker is one server of it")
        servers.append(OwnServer(name=name, auth_url=fields["auth_url"], server=fields["server"]))
    return tuple(servers)


def server_of(servers: Sequence[OwnServer], auth_url: str) -> str | None:
    """The id that the worker has in the cloud with this Keystone; None: it is no server there."""
    return next((one.server for one in servers if same_keystone(one.auth_url, auth_url)), None)


def is_id(text: str) -> bool:
    """Whether Nova could have given it to a server: a UUID as it writes them."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
