# SPDX-License-Identifier: Apache-2.0
"""Which NFS shares of which cloud the worker has mounted: said by the operator in a file, never by a user.

A Cinder that keeps volumes in files tells the share and the file's name. The files of all tenants lie there, so a share
belongs to one cloud, named by its Keystone, and of what that cloud tells only a plain file name is taken.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis.providers.api import Gone, Invalid, Unauthorized
from coriolis.providers.openstack.keystones import same_keystone
from coriolis.providers.openstack.operator_file import read_sections

#: Environment variable of the worker: the path of the operator's file. Unset: no direct access to NFS.
SHARES = "CORIOLIS_OPENSTACK_NFS_SHARES"

_FIELDS = {"auth_url", "export", "path"}
#: What Cinder calls a volume's file; the second part is a snapshot's id. Neither a folder nor an option.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)?")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A section of the file. ``auth_url``: of the cloud's Keystone. ``export``: as Cinder tells it, ``HOST:/PATH``.
    ``path``: where it is mounted on the worker."""

    name: str
    auth_url: str
    export: str
    path: Path


def read_shares(path: str | None) -> tuple[Share, ...]:
    """All sections of the operator's file; none without a file. :raises Invalid: it cannot be used; says where"""
    sections = read_sections(path, "NFS share", fields=_FIELDS, needed=_FIELDS)
    return tuple(_share(name, fields) for name, fields in sections)


def shares_of(shares: Sequence[Share], auth_url: str) -> tuple[Share, ...]:
    """Those of the cloud with this Keystone."""
    return tuple(share for share in shares if same_keystone(share.auth_url, auth_url))


def file_of(shares: Sequence[Share], told: Mapping[str, Any]) -> tuple[Share, Path]:
    """The file of the connection info that Cinder gives for a volume on one of these shares.

    :raises Invalid: the share is none of them, or the name is not a file's in it
    :raises Gone: there is no such file
    """
    export, name = str(told.get("export") or ""), str(told.get("name") or "")
    share = next((one for one in shares if one.export.rstrip("/") == export.rstrip("/")), None)
    if share is None:
        raise Invalid(f"the operator has told the worker of no NFS share {export}")
    if not _FILE_NAME.fullmatch(name):
        raise Invalid(f"Cinder tells an unusable name of a file on {export}: {name!r}")
    path = share.path / name
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        there = "is empty on the worker: is it mounted?" if _is_empty(share.path) else f"has no file {name}"
        raise Gone(f"NFS share {export} at {share.path} {there}") from None
    except OSError as error:
        raise Unauthorized(f"the worker cannot look at {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise Invalid(f"{path} is not a plain file")
    return share, path


def _is_empty(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is None
    except OSError:
        return True


def _share(name: str, fields: dict[str, str]) -> Share:
    path = Path(fields["path"])
    if not path.is_absolute():
        raise Invalid(f"NFS share [{name}]: path must begin with /")
    return Share(name=name, auth_url=fields["auth_url"], export=fields["export"], path=path)
