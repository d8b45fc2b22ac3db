# SPDX-License-Identifier: Apache-2.0
"""Connection URIs: what of libvirt's many forms is accepted.

libvirt's own URI parameters can name a program to run (``command``), a netcat, or switch host key checks off, so a
user's URI is taken apart here and never handed on as it is.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from coriolis.providers.api import Invalid

_LOCAL = {"qemu", "qemu+unix"}
_REMOTE = {"qemu+ssh"}
_SOCKET = re.compile(r"/[A-Za-z0-9_./+@-]{1,200}")
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")
_USER = re.compile(r"[A-Za-z0-9_.@\\-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a libvirt daemon is. ``host`` None: this machine. ``socket`` None: libvirt's default."""

    uri: str
    path: str = "/system"
    host: str | None = None
    port: int | None = None
    user: str | None = None
    socket: str | None = None

    @property
    def local_uri(self) -> str:
        """For libvirt on the machine itself."""
        return f"qemu://{self.path}" + (f"?socket={self.socket}" if self.socket else "")


def parse_uri(uri: str) -> Address:
    """:raises Invalid: not one of the accepted forms"""
    try:
        parts = urllib.parse.urlsplit(uri)
        port, host = parts.port, parts.hostname
        query = urllib.parse.parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise Invalid(f"connection_uri is not a URI: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in _LOCAL | _REMOTE:
        raise Invalid(
            f"connection_uri: {scheme or 'no scheme'} is not supported; use qemu:///system or "
            "qemu+ssh://user@host/system"
        )
    if parts.path not in ("/system", "/session"):
        raise Invalid("connection_uri must end in /system (or /session)")
    if parts.password is not None:
        raise Invalid("connection_uri must not hold a password; give ssh_private_key")
    unknown = sorted(set(query) - {"socket"})
    if unknown:
        raise Invalid(f"connection_uri: parameter {unknown[0]} is not supported; only socket is")
    socket = query["socket"][0] if "socket" in query else None
    if socket is not None and not _SOCKET.fullmatch(socket):
        raise Invalid("connection_uri: socket must be an absolute path of plain characters")
    if scheme in _LOCAL:
        if host or parts.username or port:
            raise Invalid("connection_uri: a host needs qemu+ssh://; this machine is qemu:///system")
        return Address(uri=uri, path=parts.path, socket=socket)
    return _remote(uri, parts, host, port, socket)


def _remote(
    uri: str, parts: urllib.parse.SplitResult, host: str | None, port: int | None, socket: str | None
) -> Address:
    if not host or not _HOST.fullmatch(host) or host.startswith("-"):
        raise Invalid("connection_uri: qemu+ssh:// needs a host name or address")
    user = urllib.parse.unquote(parts.username) if parts.username else None
    if user is not None and (not _USER.fullmatch(user) or user.startswith("-")):
        raise Invalid("connection_uri: that is not a user name")
    if parts.path == "/session" and socket is None:
        raise Invalid("connection_uri: /session of another host needs ?socket=/path/of/libvirt-sock")
    return Address(uri=uri, path=parts.path, host=host, port=port, user=user, socket=socket)
