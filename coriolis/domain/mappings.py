# SPDX-License-Identifier: Apache-2.0
"""How an update's new values meet the stored ones of a transfer. (Source of the rules: the wire contract.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Any

# Environments and the network map: new keys win, others stay.
SHALLOW = ("source_environment", "destination_environment", "network_map")


def merged(stored: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """The new values of the fields that ``given`` names; both by the names of the job's columns."""
    found: dict[str, Json] = {}
    for name, value in given.items():
        if name in SHALLOW:
            found[name] = {**stored[name], **(value or {})}
        elif name == "storage_mappings":
            found[name] = storage(stored[name], value or {})
        elif name == "user_scripts":
            found[name] = scripts(stored[name], value or {})
        else:
            found[name] = value
    return found


def storage(stored: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """Backends are merged by ``source``, disks by ``disk_id``; the default is the new one, or else the old one."""
    found: dict[str, Json] = {}
    default = given.get("default") or stored.get("default")
    if default:
        found["default"] = default
    for name, key in (("backend_mappings", "source"), ("disk_mappings", "disk_id")):
        lines = _by(key, stored.get(name) or ()) | _by(key, given.get(name) or ())
        if lines:
            found[name] = list(lines.values())
    return found


def _by(key: str, lines: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    return {line[key]: dict(line) for line in lines}


def scripts(stored: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """By OS and by instance; null removes what is stored for it."""
    found: dict[str, Json] = {}
    for part in ("global", "instances"):
        lines = {**(stored.get(part) or {}), **(given.get(part) or {})}
        found[part] = {name: value for name, value in lines.items() if value is not None}
    return found
