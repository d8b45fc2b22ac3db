# SPDX-License-Identifier: Apache-2.0
"""What a side proves itself with, and how it makes sure of the other one."""

from __future__ import annotations

import dataclasses
import enum
import os
import ssl
import stat
from pathlib import Path
from typing import Any

from coriolis.dataplane.errors import DataplaneError


class BadCredentials(DataplaneError):
    """The files of a certificate cannot be used."""


class Clear(enum.Enum):
    """Instead of credentials: what passes can be read and changed by anybody on the way."""

    CLEAR = "clear"


CLEAR = Clear.CLEAR


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """PEM files. ``authority``: certificates that sign those of peers. The key must be readable by its owner only."""

    certificate: Path
    key: Path
    authority: Path

    def check(self) -> None:
        """:raises BadCredentials: a file is missing, or the key is open to others"""
        for path in (self.certificate, self.key, self.authority):
            if not path.is_file():
                raise BadCredentials(f"{path} is missing; make it, or correct the path")
        if stat.S_IMODE(os.stat(self.key).st_mode) & 0o077:
            raise BadCredentials(f"{self.key} can be read by others; run: chmod 0600 {self.key}")


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """Asks every client for a certificate of the authority."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # a connection is used once
    return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """Checks the server's certificate and its name."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, credentials)


def _context(side: Any, credentials: Credentials) -> ssl.SSLContext:
    credentials.check()
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(credentials.certificate, credentials.key)
        context.load_verify_locations(cafile=credentials.authority)
    except ssl.SSLError as error:
        raise BadCredentials(f"{credentials.certificate} and its key cannot be used: {error.reason}") from None
    return context


def names_of(peer: dict[str, Any] | None) -> frozenset[str]:
    """The DNS names of a checked certificate (`SSLSocket.getpeercert`)."""
    return frozenset(value for kind, value in (peer or {}).get("subjectAltName", ()) if kind == "DNS")
