# SPDX-License-Identifier: Apache-2.0
"""Disk images of a stopped domain, looked at on its host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from coriolis.providers.api import Conflict, Gone, Unauthorized, Unavailable
from coriolis.providers.api.hosts import Host, run

# Keeps the image's times: without a bitmap it holds the same bytes for the guest.
_REMOVE_BITMAP = """\
stamp=$(mktemp) || exit 1
touch -r "$1" "$stamp" && qemu-img bitmap --remove -f qcow2 "$1" "$2"; status=$?
touch -r "$stamp" "$1"; rm -f "$stamp"; exit $status
"""


@dataclass(frozen=True, kw_only=True)
class Image:
    """``files``: the image and what it is based on. ``bitmaps``: all of its dirty bitmaps; ``complete_bitmaps``:
    those that have recorded every write until now."""

    size_bytes: int
    files: tuple[str, ...]
    bitmaps: tuple[str, ...] = ()
    complete_bitmaps: tuple[str, ...] = ()


def look_at(host: Host, path: str, kind: str) -> Image:
    """:raises Gone: it is not there. :raises Conflict: it is not what the domain says"""
    done = run(host, ["env", "LC_ALL=C", "qemu-img", "info", "-U", "--backing-chain", "--output=json",
                      *(["-f", kind] if kind else []), path])  # fmt: skip
    if done.returncode != 0:
        words = done.stderr.strip()
        if "No such file" in words:
            raise Gone(f"disk image {path} does not exist: {words}")
        if "Permission denied" in words:
            raise Unauthorized(f"the worker may not read disk image {path}; run it as root or in a group that may")
        raise Conflict(f"disk image {path} cannot be read: {words}")
    chain = json.loads(done.stdout)
    bitmaps = chain[0].get("format-specific", {}).get("data", {}).get("bitmaps", ())
    return Image(
        size_bytes=int(chain[0]["virtual-size"]),
        files=tuple(str(layer["filename"]) for layer in chain),
        bitmaps=tuple(str(bitmap["name"]) for bitmap in bitmaps),
        complete_bitmaps=tuple(
            str(bitmap["name"]) for bitmap in bitmaps if "auto" in bitmap["flags"] and "in-use" not in bitmap["flags"]
        ),
    )


def fingerprint(host: Host, files: Iterable[str]) -> str:
    """Changes when a file was written or replaced: from inode, size and time of change of the content.

    A block device's node keeps its time whatever is written: of those only the place is in it.
    """
    listed = [*files]
    done = run(host, ["env", "LC_ALL=C", "TZ=UTC", "stat", "-L", "-c", "%F %d %i %s %y %t %T", "--", *listed])
    if done.returncode != 0:
        raise Unavailable(f"the disk images {', '.join(listed)} cannot be looked at: {done.stderr.strip()}")
    return hashlib.sha256(done.stdout.encode()).hexdigest()[:24]


def remove_bitmap(host: Host, path: str, name: str) -> None:
    """:raises Unavailable: the image is in use"""
    done = run(host, ["sh", "-c", _REMOVE_BITMAP, "coriolis-bitmap", path, name])
    if done.returncode != 0:
        raise Unavailable(f"the dirty bitmap {name} cannot be removed from {path}: {done.stderr.strip()}")
