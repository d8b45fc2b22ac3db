# SPDX-License-Identifier: Apache-2.0
"""Which Ceph clusters the worker may enter by itself, for which cloud: said by the operator in a file, never by a user.

A Cinder that keeps volumes in Ceph tells where: monitors, pool and image. The key that opens it is the operator's,
and opens every tenant's volumes. So a key belongs to one cloud, named by its Keystone: what another cloud, which
anybody may run, says about "its" volumes never meets that key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis.providers.api import Invalid
from coriolis.providers.openstack.keystones import same_keystone
from coriolis.providers.openstack.operator_file import read_sections

#: Environment variable of the worker: the path of the operator's file. Unset: no direct access to Ceph.
CLUSTERS = "CORIOLIS_OPENSTACK_CEPH_CLUSTERS"

_FIELDS = {"auth_url", "conf", "user", "keyring", "pools"}
_KEY = re.compile(r"^\s*key\s*=\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A section of the file. ``auth_url``: of the cloud's Keystone. ``conf``: a ceph.conf; None: the monitors
    that Cinder tells are enough. ``keyring``: holds the key of ``client.USER``; None: the one that Cinder tells, if
    it does. ``user``: None: the one that Cinder names. ``pools``: whose images may be opened.
    """

    name: str
    auth_url: str
    pools: tuple[str, ...]
    conf: Path | None = None
    user: str | None = None
    keyring: Path | None = None

    def key(self) -> str | None:
        """The key in ``keyring``, read now: an operator may change it. :raises Invalid: there is none in it"""
        if self.keyring is None:
            return None
        try:
            return key_in(self.keyring.read_text(), self.user or "")
        except OSError as error:
            raise Invalid(f"the worker cannot read the Ceph key ring of [{self.name}]: {error.strerror}") from None


def read_clusters(path: str | None) -> tuple[Cluster, ...]:
    """All sections of the operator's file; none without a file. :raises Invalid: it cannot be used; says where"""
    sections = read_sections(path, "Ceph cluster", fields=_FIELDS, needed={"auth_url", "pools"})
    return tuple(_cluster(name, fields) for name, fields in sections)


def find(
    clusters: Sequence[Cluster], auth_url: str, connection_info: Mapping[str, Any], *, proven: bool
) -> Cluster | None:
    """The cluster that holds this volume of the cloud, when the worker may enter it. Of several with the pool, the one
    whose ceph.conf names a monitor that Cinder tells. ``proven``: that of `Cloud`; what another cloud tells leads
    nowhere."""
    if not proven:
        return None
    data = connection_info.get("data", connection_info)
    pool = str(data.get("name", "")).partition("/")[0]
    fitting = [c for c in clusters if same_keystone(c.auth_url, auth_url) and pool in c.pools]
    if len(fitting) > 1:
        told = {str(host).strip("[]") for host in data.get("hosts", ())}
        fitting = [c for c in fitting if c.conf is not None and any(_names(c.conf, host) for host in told)]
    return fitting[0] if fitting else None


def key_in(keyring: str, user: str) -> str:
    """The key of ``client.user`` in the text of a key ring, or the only key of one that names no one.

    :raises Invalid: it is not there
    """
    for part in re.split(r"^\s*(?=\[)", keyring, flags=re.MULTILINE):
        found = _KEY.search(part)
        if found and (not part.startswith("[") or part.startswith(f"[client.{user}]")):
            return found.group(1)
    raise Invalid(f"the Ceph key ring has no key of client.{user}")


def _cluster(name: str, fields: dict[str, str]) -> Cluster:
    if fields.get("keyring") and not fields.get("user"):
        raise Invalid(f"Ceph cluster [{name}]: give the user whose key the key ring holds")
    return Cluster(
        name=name,
        auth_url=fields["auth_url"],
        pools=tuple(fields["pools"].replace(",", " ").split()),
        conf=Path(fields["conf"]) if fields.get("conf") else None,
        user=(fields.get("user") or "").removeprefix("client.") or None,
        keyring=Path(fields["keyring"]) if fields.get("keyring") else None,
    )


def _names(conf: Path, host: str) -> bool:
    try:
        return re.search(rf"(?<![\w.]){re.escape(host)}(?![\w.])", conf.read_text()) is not None
    except OSError as error:
        raise Invalid(f"the worker cannot read {conf}: {error.strerror}") from None
