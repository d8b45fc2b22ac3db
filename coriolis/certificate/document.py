# SPDX-License-Identifier: Apache-2.0
"""What a certificate says. Pure: from what tasks reported to a JSON document, and its canonical bytes.

Canonical bytes, which are signed: the document without its ``signature``, as JSON in UTF-8 with sorted keys, no white
space and no escapes but those that JSON demands. All numbers are whole, so that every language writes them alike.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = "coriolis certificate 1"
ALGORITHM = "blake3-tree-1"  # coriolis.dataplane.digest
LEAF_SIZE = 1 << 20

Json = Any
_VERIFIED = ("mode", "digest")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One instance of an execution. ``outputs``: what its tasks gave, by stored name (``digest@2/disk-0``);
    ``result``: the description of the new machine, if one was made."""

    name: str
    outputs: Mapping[str, Json]
    result: Json = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """An execution. Times are naive UTC."""

    execution_id: str
    type: str
    job_id: str
    job_kind: str
    project_id: str
    source_type: str
    destination_type: str
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


def build(run: Run, machines: Iterable[Machine], issued_at: dt.datetime) -> Json:
    """The document without a signature, or None when no disk was copied."""
    shown = [_machine(one) for one in machines]
    if not any(one["disks"] for one in shown):
        return None
    return {
        "format": FORMAT,
        "issued_at": _time(issued_at),
        "job": {"id": run.job_id, "kind": run.job_kind, "project_id": run.project_id},
        "execution": {
            "id": run.execution_id,
            "type": run.type,
            "started_at": _time(run.started_at),
            "finished_at": _time(run.finished_at),
        },
        "source_platform": run.source_type,
        "destination_platform": run.destination_type,
        "digest": {
            "algorithm": ALGORITHM,
            "leaf_size": LEAF_SIZE,
            "definition": 'BLAKE3("coriolis disk 1\\n" || u64le(size) || u64le(leaf_size) || BLAKE3(leaf 0) || ...)',
        },
        "instances": shown,
    }


def canonical(document: Mapping[str, Json]) -> bytes:
    """What is signed."""
    told = {key: value for key, value in document.items() if key != "signature"}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def disks(document: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """(instance, disk) of each disk in the document."""
    return [(one["instance"], disk) for one in document["instances"] for disk in one["disks"]]


def _machine(one: Machine) -> Json:
    copied = _latest(one.outputs, "digest")
    verified = _latest(one.outputs, "verified")
    made = one.result if isinstance(one.result, Mapping) else {}
    return {
        "instance": one.name,
        "target_instance": {"id": made.get("id"), "name": made.get("name")} if made else None,
        "disks": [_disk(disk, copied[disk], verified.get(disk)) for disk in sorted(copied)],
    }


def _disk(disk_id: str, copied: Json, verified: Json) -> Json:
    rounds = copied.get("rounds") or []
    read_back = verified or {"mode": "none"}
    return {
        "disk_id": disk_id,
        "size_bytes": copied["size"],
        "root": copied["digest"],
        "bytes_left_out": copied.get("bytes_left_out", copied.get("bytes_saved", 0)),
        "source_snapshot": rounds[-1]["source_snapshot"] if rounds else None,
        "target_volume": copied.get("volume"),
        "rounds": rounds,
        "verification": {name: read_back.get(name) for name in _VERIFIED},
    }


def _latest(outputs: Mapping[str, Json], wanted: str) -> dict[str, Json]:
    """Disk to what the last round reported under this name."""
    found: dict[str, tuple[int, Json]] = {}
    for name, value in outputs.items():
        whole, _, item = name.partition("/")
        plain, _, number = whole.partition("@")
        if plain != wanted or not isinstance(value, Mapping) or (number and not number.isdigit()):
            continue
        items = {item: value} if item else value
        for disk, told in items.items():
            if isinstance(told, Mapping) and int(number or 0) >= found.get(disk, (0, None))[0]:
                found[disk] = (int(number or 0), told)
    return {disk: told for disk, (_, told) in found.items()}


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
