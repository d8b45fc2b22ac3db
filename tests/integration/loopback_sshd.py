# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server on a free loopback port, with a host key and one authorised key of its own. Needs root."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
"""


@dataclass(frozen=True, kw_only=True)
class Sshd:
    port: int
    private_key: str
    host_key: str  # type and key
    log: Path


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """A server for as long as the block lasts. ``folder`` is made."""
    folder.mkdir(parents=True)
    for name in ("host", "user", "stranger"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its rights
    log = folder / "log"
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(folder / "config"), "-E", str(log)])
    try:
        _wait(port, server)
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        yield Sshd(port=port, private_key=(folder / "user").read_text(), host_key=host_key, log=log)
    finally:
        server.terminate()
        server.wait()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, "sshd did not start"
            assert time.monotonic() < end, "sshd does not answer"
            time.sleep(0.05)
