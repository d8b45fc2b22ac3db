# SPDX-License-Identifier: Apache-2.0
"""Which iSCSI portals of which cloud the worker may speak to: said by the operator in a file, never by a user.

A Cinder whose storage speaks iSCSI tells portal, target, LUN and the CHAP secret of a volume. The secret is the
volume's own, but a cloud that anybody may run could tell any address: so a portal belongs to one cloud, named by its
Keystone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coriolis.providers.api import Invalid
from coriolis.providers.openstack.keystones import same_keystone
from coriolis.providers.openstack.operator_file import read_sections

#: Environment variable of the worker: the path of the operator's file. Unset: no direct access by iSCSI.
PORTALS = "CORIOLIS_OPENSTACK_ISCSI_PORTALS"
#: Of iSCSI, by IANA.
PORT = 3260

_FIELDS = {"auth_url", "portals"}
_PORTAL = re.compile(r"(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A section of the file. ``auth_url``: of the cloud's Keystone. ``portals``: as `portal` writes them."""

    name: str
    auth_url: str
    portals: tuple[str, ...]


def read_storages(path: str | None) -> tuple[Storage, ...]:
    """All sections of the operator's file; none without a file. :raises Invalid: it cannot be used; says where"""
    sections = read_sections(path, "iSCSI storage", fields=_FIELDS, needed=_FIELDS)
    return tuple(
        Storage(
            name=name,
            auth_url=fields["auth_url"],
            portals=tuple(portal(word) for word in fields["portals"].replace(",", " ").split()),
        )
        for name, fields in sections
    )


def portals_of(storages: Sequence[Storage], auth_url: str) -> frozenset[str]:
    """Those of the cloud with this Keystone."""
    return frozenset(p for one in storages if same_keystone(one.auth_url, auth_url) for p in one.portals)


def portal(text: str) -> str:
    """``HOST:PORT`` in small letters, an IPv6 address in brackets. :raises Invalid: it is none"""
    found = _PORTAL.fullmatch(text.strip())
    if found is None or int(found["port"] or PORT) > 65535:
        raise Invalid(f"{text!r} is no iSCSI portal: write HOST or HOST:PORT, an IPv6 address in brackets")
    return f"{found['host'].lower()}:{int(found['port'] or PORT)}"
