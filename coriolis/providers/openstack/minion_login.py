# SPDX-License-Identifier: Apache-2.0
"""SSH into a minion of this attempt: a key that only this process has, and a host key that Nova vouches for.

The guest prints the fingerprints of its host keys on its console when it starts (cloud-init does, and the minion image
of the project's lab); the console is read through Nova's API. What answers at the minion's address is believed only if
its key is among them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import posixpath
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coriolis.providers.api import Context, Unauthorized, Unavailable
from coriolis.providers.api.hosts import Host, run
from coriolis.providers.api.ssh import SshHost
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.waits import wait_until

_SCAN_SECONDS = 30
_KEY_TYPES = ("ed25519", "ecdsa", "rsa")  # in this order: most have the first
_HOST_KEY = re.compile(r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/]{40,}={0,2}")
_ROOT = "root"


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """OpenSSH's forms. The private half is in no message and in no repr."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


@dataclass(frozen=True, kw_only=True)
class Place:
    host: str
    user: str
    port: int = 22


def new_keypair() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private=private.decode(), public=public.decode())


def fingerprint(key: str) -> str:
    """``SHA256:...`` of a public key in OpenSSH's form (``ssh-ed25519 AAAA...``). :raises ValueError: it is none"""
    blob = base64.b64decode(key.split()[1], validate=True)
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def shown(console: str) -> list[str]:
    """Host keys that the console shows whole, as cloud-init has it."""
    return list(dict.fromkeys(_HOST_KEY.findall(console)))


def vouched(offered: list[str], console: str) -> list[str]:
    """Of the keys that answer at an address, those whose fingerprint the console shows."""
    words = set(console.split())
    return [key for key in offered if fingerprint(key) in words]


@contextlib.contextmanager
def logged_in(
    cloud: Cloud, server: Any, place: Place, key: KeyPair, seconds: float, context: Context
) -> Iterator[Host]:
    """The minion, as root, as soon as it answers.

    :raises Unavailable: it does not answer, or its console does not show its host keys
    :raises Unauthorized: it does not let the key in
    """
    host = _Waiting(cloud=cloud, server=server, place=place, key=key, context=context).until(seconds)
    try:
        yield host if place.user == _ROOT else _Sudo(host, place.user)
    finally:
        host.close()


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    cloud: Cloud
    server: Any
    place: Place
    key: KeyPair
    context: Context

    def until(self, seconds: float) -> SshHost:
        what = (
            f"minion {self.server.name} did not let us in at {self.place.host}: its console has to show the "
            "fingerprints of its SSH host keys (cloud-init does that), and a worker has to reach its address"
        )
        return wait_until(self._look, what=what, seconds=seconds, context=self.context)

    def _look(self) -> SshHost | None:
        console = self._console()
        keys = shown(console) or self._scanned(console)
        if not keys:
            return None
        info = {"ssh_private_key": self.key.private, "ssh_host_key": "\n".join(keys)}
        try:
            return SshHost(self.place, info, self.context)
        except (Unavailable, Unauthorized):  # its keys may be taken in later than its server starts
            return None

    def _scanned(self, console: str) -> list[str]:
        """Nobody is asked before the console shows a fingerprint: a guest that starts is busy."""
        if "SHA256:" not in console:
            return []
        found = (vouched(_scan(self.place, kind), console) for kind in _KEY_TYPES)
        return next(filter(None, found), [])

    def _console(self) -> str:
        with translated(f"reading the console log of minion {self.server.name}"):
            return str(self.cloud.sdk.compute.get_server_console_output(self.server).get("output") or "")


def _scan(place: Place, kind: str) -> list[str]:
    """What answers there, unproven: ``ssh-ed25519 AAAA...``; empty when nothing does."""
    try:
        done = subprocess.run(
            ["ssh-keyscan", "-t", kind, "-T", str(_SCAN_SECONDS), "-p", str(place.port), "--", place.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * _SCAN_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable("ssh-keyscan is not installed on the worker; install openssh-client") from None
    except subprocess.TimeoutExpired:
        return []
    return parse_scan(done.stdout)


def parse_scan(text: str) -> list[str]:
    """The keys in ssh-keyscan's output."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and not line.startswith("#"):
            key = " ".join(words[1:])
            with contextlib.suppress(ValueError, binascii.Error):
                fingerprint(key)
                found.append(key)
    return found


class _Sudo:
    """Commands of a user who may become root without a password."""

    def __init__(self, host: SshHost, user: str) -> None:
        self._host, self._user = host, user

    def command(self, argv: list[str]) -> list[str]:
        return self._host.command(["sudo", "-n", *argv])

    @contextlib.contextmanager
    def reach(self, socket: str) -> Iterator[str]:
        """The SSH server goes to the socket as the user, who is let in first."""
        done = run(self, ["chown", "-R", self._user, posixpath.dirname(socket)])
        if done.returncode != 0:
            raise Unauthorized(f"minion_username: {self._user} may not become root: {done.stderr.strip()}")
        with self._host.reach(socket) as local:
            yield local

    def close(self) -> None:
        self._host.close()
