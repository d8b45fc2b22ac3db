# SPDX-License-Identifier: Apache-2.0
"""A host behind SSH: one OpenSSH connection carries commands, the disks' NBD sockets and other sockets.

Host keys are always checked. A private key lies in the attempt's scratch directory only, mode 0600, until close.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from coriolis.providers.api.context import Context
from coriolis.providers.api.errors import Cancelled, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.api.hosts import LocalHost, end, first_line, run, socket_folder

CONNECT_SECONDS = 60.0


class Address(Protocol):
    """Where the host is; None: OpenSSH's own default."""

    @property
    def host(self) -> str | None: ...

    @property
    def port(self) -> int | None: ...

    @property
    def user(self) -> str | None: ...


_TARGET = "hypervisor"
_READY = "coriolis-ready"

# ssh ends with status 255 for all of these: only its words tell them apart.
_REFUSALS: tuple[tuple[str, type[ProviderError], str], ...] = (
    (
        "host key verification failed",
        Unauthorized,
        "its host key is not the known one; give the one in its /etc/ssh/ssh_host_*_key.pub as ssh_host_key",
    ),
    ("permission denied", Unauthorized, "the host refused the user or key; check the user name and ssh_private_key"),
    ("invalid format", Invalid, "ssh_private_key is not a private key"),
    ("error in libcrypto", Invalid, "ssh_private_key is not a private key, or has a passphrase"),
)


def _line(value: str) -> str:
    """A value of a line of ssh_config, quoted."""
    if any(c in value for c in '"\n\r'):
        raise Invalid("connection info: a quote or line break where none can be")
    return f'"{value}"'


def _known_hosts(host_key: str, address: Address) -> str:
    name = f"[{address.host}]:{address.port}" if address.port not in (None, 22) else str(address.host)
    lines = [line.strip() for line in host_key.splitlines() if line.strip()]
    for line in lines:
        if len(line.split()) < 2 or line.startswith(("@", "#")):
            raise Invalid("ssh_host_key: each line must be a key type and a key, as in ssh-ed25519 AAAA...")
    return "".join(f"{name} {line}\n" for line in lines)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def ssh_config(address: Address, folder: Path, sockets: Path, info: dict[str, Any]) -> str:
    """The text of the configuration file; key files that it names are in ``folder``."""
    values = {
        "HostName": _line(str(address.host)),
        "Port": str(address.port) if address.port else None,
        "User": _line(address.user) if address.user else None,
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
        "Ciphers": "^aes128-gcm@openssh.com,aes256-gcm@openssh.com",  # first of the defaults: the fastest
        "Compression": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "no",
        "StreamLocalBindUnlink": "yes",
        "StreamLocalBindMask": "0177",
        "ControlPath": _line(str(sockets / "ctl")),
        "LogLevel": "ERROR",
    }
    if info.get("ssh_private_key"):
        values |= {"IdentityFile": _line(str(folder / "key")), "IdentitiesOnly": "yes", "IdentityAgent": "none"}
    if info.get("ssh_host_key"):
        values |= {"UserKnownHostsFile": _line(str(folder / "known_hosts")), "GlobalKnownHostsFile": "/dev/null"}
    elif info.get("ssh_known_hosts"):
        values |= {"UserKnownHostsFile": _line(info["ssh_known_hosts"]), "GlobalKnownHostsFile": "/dev/null"}
    return f"Host {_TARGET}\n" + "".join(f"  {k} {v}\n" for k, v in values.items() if v is not None)


class SshHost:
    """An open SSH connection. :raises ProviderError: it could not be opened"""

    def __init__(self, address: Address, info: dict[str, Any], context: Context) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ssh-", dir=context.scratch))
        self._sockets = socket_folder(context.scratch)
        self._count = 0
        try:
            if info.get("ssh_private_key"):
                _write_private(self._folder / "key", info["ssh_private_key"].rstrip() + "\n")
            if info.get("ssh_host_key"):
                _write_private(self._folder / "known_hosts", _known_hosts(info["ssh_host_key"], address))
            _write_private(self._folder / "config", ssh_config(address, self._folder, self._sockets, info))
            self._master = self._connect(address, context)
        except BaseException:
            self._remove()
            raise

    def _ssh(self, *options: str) -> list[str]:
        return ["ssh", "-F", str(self._folder / "config"), *options, _TARGET]

    def _connect(self, address: Address, context: Context) -> subprocess.Popen[bytes]:
        said = self._folder / "ssh.err"
        with said.open("wb") as errors:
            try:
                master = subprocess.Popen(
                    [*self._ssh("-M", "-T"), f"echo {_READY}; exec cat"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise Unavailable("ssh is not installed on the worker; install openssh-client") from None
        try:
            if first_line(master, CONNECT_SECONDS, context).strip() == _READY.encode():
                return master
        except Cancelled:
            end(master, 0.5)
            raise
        end(master, 1.0)
        raise refusal(address, said.read_text(errors="replace"))

    def command(self, argv: list[str]) -> list[str]:
        return [*self._ssh("-T"), "--", quote(argv)]

    @contextlib.contextmanager
    def reach(self, socket: str) -> Iterator[str]:
        self._count += 1
        local = self._sockets / f"f{self._count}"
        self._forward("forward", local, socket)
        try:
            yield str(local)
        finally:
            with contextlib.suppress(ProviderError):
                self._forward("cancel", local, socket)
            local.unlink(missing_ok=True)

    def _forward(self, action: str, local: Path, socket: str) -> None:
        done = run(LocalHost(), self._ssh("-O", action, "-L", f"{local}:{socket}"))
        if done.returncode != 0:
            raise Unavailable(f"the SSH connection does not carry sockets ({action}): {done.stderr.strip()}")

    def close(self) -> None:
        end(self._master)
        self._remove()

    def _remove(self) -> None:
        for folder in (self._folder, self._sockets):
            shutil.rmtree(folder, ignore_errors=True)


def quote(argv: list[str]) -> str:
    """``argv`` for the shell at the other end."""
    return shlex.join(argv)


def refusal(address: Address, said: str) -> ProviderError:
    """Why ssh ended, from its words."""
    words = said.lower()
    for pattern, kind, cure in _REFUSALS:
        if pattern in words:
            return kind(f"SSH to {address.host}: {cure}")
    last = said.strip().splitlines()[-1] if said.strip() else "no answer"
    return Unavailable(f"SSH to {address.host} failed: {last}")
