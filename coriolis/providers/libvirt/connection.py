# SPDX-License-Identifier: Apache-2.0
"""Opens a libvirt host and holds what its capabilities share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from typing import Any

import libvirt

from coriolis.providers.api import Conflict, Context, Gone, Invalid, Unauthorized, Unavailable
from coriolis.providers.api.hosts import Host, LocalHost, run
from coriolis.providers.api.ssh import SshHost
from coriolis.providers.libvirt.errors import is_code, translated
from coriolis.providers.libvirt.uri import Address, parse_uri

OLDEST_LIBVIRT = 7_002_000  # backups with checkpoints are on by default from 7.2 on
OWN_RIGHTS = "CORIOLIS_LIBVIRT_OWN_RIGHTS"  # environment of the worker; "no" on workers that tenants share
_REMOTE_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")

# Without a handler, libvirt prints every error on standard error.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


@dataclass(frozen=True, kw_only=True)
class Link:
    """An open libvirt host: the daemon, and the machine that it runs on."""

    address: Address
    connection: libvirt.virConnect
    host: Host
    socket_directory: str | None = None
    grace_seconds: float = 60.0

    @property
    def uri(self) -> str:
        return self.address.uri

    def translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return translated(doing, self.connection)

    def domain(self, ref: str) -> libvirt.virDomain | None:
        """By UUID; None when there is none."""
        with self.translated(f"looking for domain {ref}"):
            try:
                return self.connection.lookupByUUIDString(ref)
            except libvirt.libvirtError as error:
                if is_code(error, libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
                    return None
                raise

    def existing_domain(self, ref: str) -> libvirt.virDomain:
        """:raises Gone: there is none"""
        domain = self.domain(ref)
        if domain is None:
            raise Gone(f"there is no domain {ref} on {self.uri}")
        return domain


def tag(key: str) -> str:
    """What we mark things of ``key`` with: readable when the key is plain and short, otherwise a digest of it."""
    if _PLAIN_KEY.fullmatch(key):
        return f"coriolis-{key}"
    return f"coriolis-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def short_tag(key: str) -> str:
    """Twelve hexadecimal digits of ``key``."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def open_link(info: dict[str, Any], context: Context) -> Link:
    """:raises ProviderError: the host or its libvirt does not answer, or refuses us"""
    address = parse_uri(info["connection_uri"])
    refuse_own_rights(address, info, os.environ.get(OWN_RIGHTS, ""))
    context.check_cancelled()
    host: Host = LocalHost() if address.host is None else SshHost(address, info, context)
    try:
        connection = _open_local(address) if address.host is None else _open_remote(address, host)
    except BaseException:
        host.close()
        raise
    return Link(
        address=address,
        connection=connection,
        host=host,
        socket_directory=info.get("socket_directory"),
        grace_seconds=float(info.get("shutdown_grace_seconds", 60)),
    )


def refuse_own_rights(address: Address, info: dict[str, Any], setting: str) -> None:
    """Where the operator says so, an endpoint must not use what the worker itself may: its libvirt, keys and files.

    :raises Unauthorized: it would
    """
    if setting.casefold() not in ("no", "0", "false"):
        return
    if address.host is None:
        raise Unauthorized("connection_uri: the operator does not let endpoints use the libvirt of the worker's host")
    for field in ("ssh_private_key", "ssh_host_key"):
        if not info.get(field):
            raise Unauthorized(f"give {field}: the operator does not let endpoints use the worker's own SSH files")


def _open_local(address: Address) -> libvirt.virConnect:
    with translated(f"libvirt at {address.uri} (is libvirtd running, and may the worker use its socket?)"):
        return libvirt.open(address.local_uri)


def _open_remote(address: Address, host: Host) -> libvirt.virConnect:
    socket = address.socket or _find_socket(address, host)
    with host.reach(socket) as local:
        with translated(f"libvirt at {address.uri} (socket {socket} on {address.host})"):
            return libvirt.open(f"qemu://{address.path}?socket={local}")


def _find_socket(address: Address, host: Host) -> str:
    """The daemon's socket on a host: of libvirtd or its stand-in first, they speak for all drivers."""
    tests = "; ".join(f"[ -S {path} ] && echo {path}" for path in _REMOTE_SOCKETS)
    found = run(host, ["sh", "-c", tests]).stdout.split()
    if not found:
        raise Unavailable(
            f"no libvirt socket on {address.host} (looked for {', '.join(_REMOTE_SOCKETS)}): start libvirtd, or name "
            "its socket with ?socket= in connection_uri"
        )
    return found[0]


def check_link(link: Link) -> None:
    """Proves that the daemon answers, is QEMU's and new enough. :raises ProviderError:"""
    with link.translated(f"asking {link.uri}"):
        kind, version = link.connection.getType(), link.connection.getLibVersion()
        link.connection.listAllDomains()
    if kind != "QEMU":
        raise Invalid(f"connection_uri: {link.uri} is {kind}, not QEMU")
    if version < OLDEST_LIBVIRT:
        raise Conflict(f"libvirt {version // 1_000_000}.{version // 1000 % 1000} is too old; 7.2 is needed")


def close_link(link: Link) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        link.connection.close()
    link.host.close()
