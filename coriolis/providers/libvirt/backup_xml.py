# SPDX-License-Identifier: Apache-2.0
"""XML of checkpoints and pull backups. Rules only.

Source of the formats: https://libvirt.org/formatbackup.html and https://libvirt.org/formatcheckpoint.html
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BackupDisk:
    """A disk in a backup. ``scratch``: file on the host for blocks that the guest overwrites meanwhile.

    ``since``: name of the checkpoint relative to which a dirty bitmap is offered. ``bitmap``: its name over NBD.
    ``mark``: a dirty bitmap of its own begins at this point in time.
    """

    target: str
    scratch: str
    since: str | None = None
    bitmap: str | None = None
    mark: bool = False


@dataclass(frozen=True, kw_only=True)
class RunningBackup:
    """A backup job as libvirt describes it. ``disks``: target to the name of the bitmap over NBD, or None."""

    socket: str
    disks: dict[str, str | None]


def bitmap_name(target: str) -> str:
    return f"changes-{target}"


def backup_xml(socket: str, disks: list[BackupDisk], left_out: list[str]) -> str:
    """A pull backup of ``disks`` over the unix socket; each is exported under its target's name."""
    backup = ET.Element("domainbackup", mode="pull")
    ET.SubElement(backup, "server", transport="unix", socket=socket)
    elements = ET.SubElement(backup, "disks")
    for disk in disks:
        attributes = {"name": disk.target, "backup": "yes", "type": "file", "exportname": disk.target}
        if disk.since and disk.bitmap:
            attributes |= {"backupmode": "incremental", "incremental": disk.since, "exportbitmap": disk.bitmap}
        else:
            attributes["backupmode"] = "full"
        ET.SubElement(ET.SubElement(elements, "disk", attributes), "scratch", file=disk.scratch)
    for target in left_out:
        ET.SubElement(elements, "disk", name=target, backup="no")
    return ET.tostring(backup, encoding="unicode")


def checkpoint_xml(name: str, disks: list[BackupDisk], left_out: list[str]) -> str | None:
    """A checkpoint that marks what changes from now on; None when no disk can keep a bitmap."""
    if not any(disk.mark for disk in disks):
        return None
    checkpoint = ET.Element("domaincheckpoint")
    ET.SubElement(checkpoint, "name").text = name
    ET.SubElement(checkpoint, "description").text = "made by Coriolis; it removes it"
    elements = ET.SubElement(checkpoint, "disks")
    for disk in disks:
        ET.SubElement(elements, "disk", name=disk.target, checkpoint="bitmap" if disk.mark else "no")
    for target in left_out:
        ET.SubElement(elements, "disk", name=target, checkpoint="no")
    return ET.tostring(checkpoint, encoding="unicode")


def read_backup(xml: str) -> RunningBackup:
    root = ET.fromstring(xml)
    server = root.find("server")
    disks = {
        element.get("name", ""): element.get("exportbitmap")
        for element in root.iterfind("./disks/disk")
        if element.get("backup") == "yes"
    }
    return RunningBackup(socket="" if server is None else server.get("socket", ""), disks=disks)
