# SPDX-License-Identifier: Apache-2.0
"""An RBD image as Cinder tells of it, and Ceph's own programs run on it: `rbd`, `rados`, `ceph` of the package
ceph-common. The key is in a file that only we can read, and never in arguments or environment."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coriolis.dataplane.server import private_folder
from coriolis.providers.api import Conflict, Context, Gone, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.openstack.ceph_access import Cluster, key_in

SECONDS = 60.0
_STEP = 0.02
# Names that Cinder gives; none can be taken for an option, a snapshot or another pool.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"[A-Za-z0-9.:-]+")
# Seconds: without these, a client waits five minutes for a monitor, and for ever for an OSD.
_PATIENCE = ("--connect-timeout=15",)
_LIMITS = ("--client-mount-timeout=15", "--rados-mon-op-timeout=30", "--rados-osd-op-timeout=45")

_REFUSALS: tuple[tuple[tuple[str, ...], type[ProviderError], str], ...] = (
    (("(2) no such file", "no such file or directory"), Gone, "it does not exist (any more)"),
    (("(13)", "permission denied", "(1) operation not permitted", "operation not permitted", "auth_bad_method"),
     Unauthorized, "the key is wrong, or lacks rights on the pool: mon 'profile rbd', osd 'profile rbd pool=...'"),
    (("(16)", "resource busy"), Conflict, "it is in use"),
    (("(110)", "timed out", "connection refused", "(108)", "shutdown"), Unavailable, "the cluster does not answer"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RbdImage:
    """``monitors``: addresses with ports; not looked at when there is a ``conf``, the path of a ceph.conf."""

    pool: str
    name: str
    user: str
    key: str = field(repr=False)
    monitors: tuple[str, ...] = ()
    conf: Path | None = None

    @property
    def spec(self) -> str:
        return f"{self.pool}/{self.name}"


def rbd_of(connection_info: Mapping[str, Any], cluster: Cluster) -> RbdImage:
    """From the connection info of a Cinder attachment (``driver_volume_type`` beside ``data``, or the data alone, as
    attachments give it), and what the operator says of its cluster.

    :raises Invalid: it is not RBD, is encrypted, or says something that no Cinder does; or there is no key
    """
    if connection_info.get("driver_volume_type", "rbd") != "rbd":
        raise Invalid(f"the volume is not in Ceph, but reached by {connection_info['driver_volume_type']!r}")
    data: Mapping[str, Any] = connection_info.get("data", connection_info)
    pool, _, name = str(data.get("name", "")).partition("/")
    user = str(cluster.user or data.get("auth_username") or "")
    for word in (pool, name, user):
        if not _NAME.fullmatch(word):
            raise Invalid(f"Cinder tells an unusable Ceph image or user: {word!r}")
    if pool not in cluster.pools:
        raise Invalid(f"the operator does not let the worker open images of the Ceph pool {pool}")
    if data.get("encrypted"):
        raise Invalid(f"volume {name} is encrypted: its bytes in Ceph are of no use without its key")
    told = data.get("keyring")
    key = cluster.key() or (key_in(str(told), user) if told else None)
    if key is None:
        raise Invalid(f"Cinder tells no Ceph key, and the operator has given the worker none for [{cluster.name}]")
    return RbdImage(pool=pool, name=name, user=user, key=key, monitors=_monitors(data), conf=cluster.conf)


def _monitors(data: Mapping[str, Any]) -> tuple[str, ...]:
    hosts, ports = list(data.get("hosts") or ()), list(data.get("ports") or ())
    found = []
    for host, port in zip(hosts, ports, strict=False):
        bare = str(host).strip("[]")
        if not _HOST.fullmatch(bare) or not str(port).isdigit():
            raise Invalid(f"Cinder tells an unusable Ceph monitor: {host!r}, port {port!r}")
        found.append(f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}")
    return tuple(found)


class Tools:
    """Ceph's programs for one image. ``folder``: private; ``conf`` and ``key``: files that any of them is given."""

    def __init__(self, image: RbdImage, folder: Path, context: Context) -> None:
        self.image, self.folder, self._context = image, folder, context
        self._heeds_cancel = True
        self.key = folder / "key"
        self.conf = image.conf or folder / "ceph.conf"
        _write(self.key, image.key + "\n")
        if image.conf is None:
            _write(self.conf, f"[global]\nmon host = {' '.join(image.monitors)}\nlog file =\nadmin socket =\n")

    def of(self, image: RbdImage) -> Tools:
        """The same, for another image of the same cluster."""
        other = copy.copy(self)
        other.image = image
        return other

    def rbd(self, *words: str, seconds: float = SECONDS) -> str:
        return self.run("rbd", *words, seconds=seconds)

    def parsed(self, *words: str) -> Any:
        """The answer of ``rbd``, from JSON."""
        return json.loads(self.rbd(*words, "--format=json"))

    def run(self, program: str, *words: str, seconds: float = SECONDS) -> str:
        """What a program writes. :raises ProviderError: it says no, or nothing within ``seconds``"""
        command = ["setpriv", "--pdeathsig", "KILL", program, f"--conf={self.conf}", f"--id={self.image.user}"]
        command += [f"--keyfile={self.key}", *(_PATIENCE if program == "ceph" else _LIMITS), *words]
        with tempfile.TemporaryFile(dir=self.folder) as out, tempfile.TemporaryFile(dir=self.folder) as said:
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=said, env=_environment(), cwd="/"
                )
            except FileNotFoundError:
                raise Invalid("the worker lacks setpriv; on Debian: apt install util-linux") from None
            try:
                code = self._wait(process, seconds)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            out.seek(0)
            said.seek(0)
            words_said = said.read(65536).decode(errors="replace").strip()
            if code:
                raise refusal(self.image, words_said or f"{program} ended with status {code}")
            return out.read().decode(errors="replace")

    @contextlib.contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Within the block, a cancelled attempt may tidy up."""
        self._heeds_cancel = False
        try:
            yield
        finally:
            self._heeds_cancel = True

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        end = time.monotonic() + seconds
        while (code := process.poll()) is None:
            if self._heeds_cancel:
                self._context.check_cancelled()
            if time.monotonic() > end:
                raise Unavailable(f"Ceph image {self.image.spec}: the cluster does not answer within {seconds:.0f} s")
            time.sleep(_STEP)
        return code


@contextlib.contextmanager
def tools(image: RbdImage, context: Context) -> Iterator[Tools]:
    with private_folder() as folder:
        yield Tools(image, folder, context)


def refusal(image: RbdImage, words: str) -> ProviderError:
    """What a program said, in our words."""
    lower = words.lower()
    if "failed to execute" in lower:
        return Invalid(f"the worker lacks Ceph's programs; on Debian: apt install ceph-common ({words})")
    for patterns, kind, meaning in _REFUSALS:
        if any(pattern in lower for pattern in patterns):
            return kind(f"Ceph image {image.spec}: {meaning} ({words[-300:]})")
    return Unavailable(f"Ceph image {image.spec}: {words[-500:]}")


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
