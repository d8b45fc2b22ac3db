# SPDX-License-Identifier: Apache-2.0
"""Compares disks with a certificate, without the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis import dataplane
from coriolis.certificate import document as documents

Json = Any


class NoSuchDisk(Exception):
    """The certificate has no disk of this name, or several, or needs one."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A disk of the certificate, and where its bytes are now: a path or an NBD URI."""

    instance: str
    disk: Json
    where: str


def match(certificate: Mapping[str, Json], words: list[str]) -> list[Wanted]:
    """``[INSTANCE/]DISK=WHERE``, or only ``WHERE`` when the certificate has one disk.

    :raises NoSuchDisk:
    """
    known = documents.disks(certificate)
    return [_one(known, word) for word in words]


def _one(known: list[tuple[str, Json]], word: str) -> Wanted:
    by_name: dict[str, list[tuple[str, Json]]] = {}
    for instance, disk in known:
        for name in (disk["disk_id"], f"{instance}/{disk['disk_id']}"):
            by_name.setdefault(name, []).append((instance, disk))
    found = [(name, word[len(name) + 1 :]) for name in by_name if word.startswith(f"{name}=")]
    if found:
        name, where = max(found, key=lambda pair: len(pair[0]))
        if len(by_name[name]) > 1:
            raise NoSuchDisk(f"several instances have a disk {name}: say INSTANCE/{name}={where}")
        instance, disk = by_name[name][0]
        return Wanted(instance=instance, disk=disk, where=where)
    if len(known) == 1:
        return Wanted(instance=known[0][0], disk=known[0][1], where=word)
    names = ", ".join(f"{instance}/{disk['disk_id']}" for instance, disk in known)
    raise NoSuchDisk(f"say which disk {word} is, as DISK={word}; the certificate has {names}")


def digest_of(wanted: Wanted) -> str:
    """Of the bytes that are there now, as far as the disk reaches. :raises dataplane.DataplaneError:"""
    size = wanted.disk["size_bytes"]
    return dataplane.digest_disk(_source(wanted.where), size=size).digest or ""


def _source(where: str) -> dataplane.Source:
    if where.startswith(("nbd:", "nbd+", "nbds")) and "://" in where:
        return dataplane.NbdSource(uri=where)
    return dataplane.ImageSource(path=Path(where))
