# SPDX-License-Identifier: Apache-2.0
"""Volumes reached by iSCSI, read by the worker itself: qemu-nbd with libiscsi makes them NBD exports. No block device
appears on the worker, no kernel module and no daemon of iSCSI is needed. When the portal is away for a moment, libiscsi
logs in again and goes on; when it stays away, the copy ends as with any server that is silent.

They are not written: iSCSI has nothing by which a newer attempt could lock an older one out that QEMU would ask for.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coriolis.dataplane import NbdSource
from coriolis.dataplane.server import Server, ServerFailed, private_folder, serve
from coriolis.providers.api import Context, Gone, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.openstack.attachments import initiator
from coriolis.providers.openstack.iscsi_access import portal

_CLIENTS = 16
# RFC 3720, 3.2.6.3: the three kinds of names. None can be taken for an option or another field of a URL.
_NAME = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.-]+(:[^\s,;/]+)?|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16,32}", re.I)
_HIGHEST_LUN = 16383  # what the flat addressing of SAM can say

_REFUSALS: tuple[tuple[tuple[str, ...], type[ProviderError], str], ...] = (
    (("authentication failure", "authorization failure"), Unauthorized,
     "the storage refuses the name and secret that Cinder tells, or the initiator {initiator}"),
    (("target not found", "target removed", "logical unit not supported", "no lun"), Gone,
     "it does not exist (any more)"),
    (("unknown driver", "unknown protocol"), Invalid,
     "the worker's QEMU cannot speak iSCSI; on Debian: apt install qemu-block-extra"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class IscsiPath:
    """One way to a logical unit. ``portal``: ``HOST:PORT``. ``target``: its iSCSI name."""

    portal: str
    target: str
    lun: int


@dataclass(frozen=True, kw_only=True)
class IscsiUnit:
    """A logical unit. ``user`` and ``password``: of CHAP; None: the storage asks for none."""

    paths: tuple[IscsiPath, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def unit_of(connection_info: Mapping[str, Any], portals: Set[str]) -> IscsiUnit:
    """From the connection info of a Cinder attachment. Of several paths (multipath), those to ``portals``.

    :raises Invalid: none leads there, or it says something that no Cinder does
    """
    told: Mapping[str, Any] = connection_info.get("data", connection_info)
    paths = [path for path in _told_paths(told) if path.portal in portals]
    if not paths:
        asked = ", ".join(sorted({path.portal for path in _told_paths(told)})) or "none"
        raise Invalid(f"the operator has told the worker of no iSCSI portal {asked}")
    method = told.get("auth_method")
    if method is None:
        return IscsiUnit(paths=tuple(paths))
    if method != "CHAP" or not told.get("auth_username") or not told.get("auth_password"):
        raise Invalid(f"Cinder tells an unusable iSCSI login: {method!r}; CHAP with a name and a secret is known")
    return IscsiUnit(paths=tuple(paths), user=str(told["auth_username"]), password=str(told["auth_password"]))


def _told_paths(told: Mapping[str, Any]) -> list[IscsiPath]:
    """All that Cinder tells, the main one first."""
    lists = [list(told.get(f"target_{noun}s") or ()) for noun in ("portal", "iqn", "lun")]
    ways = [(told.get("target_portal"), told.get("target_iqn"), told.get("target_lun")), *zip(*lists, strict=False)]
    return list(dict.fromkeys(_path(*way) for way in ways if way[0]))


def _path(address: object, target: object, lun: object) -> IscsiPath:
    if not _NAME.fullmatch(str(target)) or not str(lun).isdecimal() or int(str(lun)) > _HIGHEST_LUN:
        raise Invalid(f"Cinder tells an unusable iSCSI target: {target!r}, LUN {lun!r}")
    return IscsiPath(portal=portal(str(address)), target=str(target), lun=int(str(lun)))


@contextlib.contextmanager
def reading(unit: IscsiUnit, context: Context) -> Iterator[NbdSource]:
    """A volume that nobody writes, for as long as the block lasts, by the first path that leads to it.

    :raises Gone: there is no such target. :raises Unauthorized: it does not let us in
    """
    with private_folder() as folder, contextlib.ExitStack() as stack:
        yield NbdSource(uri=_first(unit, folder, stack, context).uri)


def _first(unit: IscsiUnit, folder: Path, stack: contextlib.ExitStack, context: Context) -> Server:
    secret = folder / "secret"
    if unit.password is not None:
        _write(secret, base64.b64encode(unit.password.encode()))
    *others, last = unit.paths
    for path in others:
        try:
            return stack.enter_context(_served(unit, path, folder, secret))
        except Unavailable as error:
            context.event("WARNING", f"{error.message}; the next path is tried")
        context.check_cancelled()
    return stack.enter_context(_served(unit, last, folder, secret))


@contextlib.contextmanager
def _served(unit: IscsiUnit, path: IscsiPath, folder: Path, secret: Path) -> Iterator[Server]:
    """A qemu-nbd on a socket in the private folder. Its arguments name the file of the secret, not the secret."""
    node: dict[str, Any] = {"driver": "iscsi", "transport": "tcp", "portal": path.portal, "target": path.target}
    node |= {"lun": path.lun, "initiator-name": initiator()}
    command = ["qemu-nbd", "--read-only", "--persistent", f"--shared={_CLIENTS}"]
    command += [f"--socket={folder / 'nbd'}", f"--pid-file={folder / 'pid'}"]
    if unit.user is not None:
        node |= {"user": unit.user, "password-secret": "chap"}
        command += [f"--object=secret,id=chap,format=base64,file={secret}"]
    try:
        with serve([*command, f"json:{json.dumps(node)}"], folder) as server:
            yield server
    except ServerFailed as error:
        raise refusal(path, error.reason) from None


def refusal(path: IscsiPath, words: str) -> ProviderError:
    """What QEMU said, in our words."""
    where = f"iSCSI target {path.target} at {path.portal}"
    for patterns, kind, meaning in _REFUSALS:
        if any(pattern in words.lower() for pattern in patterns):
            return kind(f"{where}: {meaning.format(initiator=initiator())} ({words[-300:]})")
    return Unavailable(f"{where}: {words[-500:]}")


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
