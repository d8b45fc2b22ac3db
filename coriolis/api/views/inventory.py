# SPDX-License-Identifier: Apache-2.0
"""What is on a platform, on the wire."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Json = Any

# Spreadsheets run a cell that begins so as a formula, and names come from strangers.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def inventory(lines: Iterable[Mapping[str, Json]]) -> str:
    """The instances as CSV (RFC 4180) with a heading; ``problem`` says why a line is not complete."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in lines:
        whole = {**line["summary"], **(line["instance"] or {}), "problem": line["problem"]}
        writer.writerow([_cell(column(whole)) for column in COLUMNS.values()])
    return text.getvalue()


def _cell(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value).replace("\x00", "")
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int) else text


def _devices(whole: Mapping[str, Json], kind: str) -> list[dict[str, Json]] | None:
    return whole["devices"][kind] if "devices" in whole else None


def _count(kind: str) -> Callable[[Mapping[str, Json]], Json]:
    def column(whole: Mapping[str, Json]) -> Json:
        found = _devices(whole, kind)
        return None if found is None else len(found)

    return column


def _listed(kind: str, field: str) -> Callable[[Mapping[str, Json]], Json]:
    def column(whole: Mapping[str, Json]) -> Json:
        values = [device.get(field) for device in _devices(whole, kind) or ()]
        flat = [v for value in values if value is not None for v in (value if isinstance(value, list) else [value])]
        return " ".join(dict.fromkeys(map(str, flat)))

    return column


def _bytes(whole: Mapping[str, Json]) -> Json:
    disks = _devices(whole, "disks")
    return None if disks is None else sum(disk["size_bytes"] for disk in disks)


def _field(name: str) -> Callable[[Mapping[str, Json]], Json]:
    return lambda whole: whole.get(name)


COLUMNS: dict[str, Callable[[Mapping[str, Json]], Json]] = {
    **{name: _field(name) for name in ("id", "name", "instance_name", "os_type", "num_cpu", "memory_mb")},
    **{name: _field(name) for name in ("firmware_type", "flavor_name", "running")},
    "disks": _count("disks"),
    "disk_bytes": _bytes,
    "storage": _listed("disks", "storage_backend_identifier"),
    "nics": _count("nics"),
    "networks": _listed("nics", "network_name"),
    "mac_addresses": _listed("nics", "mac_address"),
    "ip_addresses": _listed("nics", "ip_addresses"),
    "problem": _field("problem"),
}
