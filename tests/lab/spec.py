# SPDX-License-Identifier: Apache-2.0
"""What a cloud of the lab is asked to be, and the clouds that it knows by name."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Offsets from the first port of a cloud.
PORTS = {
    "keystone": 0, "glance": 1, "placement": 2, "nova": 3, "neutron": 4, "cinder": 5, "barbican": 6,
    "mariadb": 20, "rabbit": 21, "epmd": 22, "rabbit_dist": 23, "tgt": 24,
}  # fmt: skip
PORTS_OF_A_CLOUD = 50
# The volume type whose storage speaks iSCSI. No guest could boot from it: their Nova attaches it with the kernel.
ISCSI = "iscsi"
FIRST_PORT = int(os.environ.get("CORIOLIS_LAB_PORT", "25000"))
Options = Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Additions:
    """More than the lab has by itself, such as another storage backend.

    ``cinder_backends`` and ``glance_stores``: options by name; a store needs its ``type``, too. ``sections``: by file
    (``nova-compute``, ``cinder`` ...) and section, options that are added or replaced.
    """

    cinder_backends: Mapping[str, Options] = dataclasses.field(default_factory=dict)
    glance_stores: Mapping[str, Options] = dataclasses.field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Options]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloudSpec:
    """One cloud. ``hosts``: how many nova-compute services; ``subnet``: of the network that the lab makes in it."""

    name: str
    release: str
    base: int
    virt: str
    hosts: int
    subnet: str
    backends: tuple[str, ...]
    token_seconds: int = 3600
    debug: bool = False
    additions: Additions = Additions()

    @property
    def host_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{number}" for number in range(1, self.hosts + 1))

    def port(self, service: str) -> int:
        return self.base + PORTS[service]

    def url(self, service: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port(service)}{path}"


def _known(place: int, release: str, virt: str) -> CloudSpec:
    return CloudSpec(
        name=release if virt == "libvirt" else f"{release}-fake",
        release=release,
        base=FIRST_PORT + place * PORTS_OF_A_CLOUD,
        virt=virt,
        hosts=1 if virt == "libvirt" else 3,
        subnet=f"10.{61 + place}.0.0/20",
        backends=("fast", "slow") if virt == "libvirt" else ("fast", "slow", ISCSI),
    )


_ALL = (
    _known(0, "old", "libvirt"),
    _known(1, "new", "libvirt"),
    _known(2, "old", "fake"),
    _known(3, "new", "fake"),
)
KNOWN: Mapping[str, CloudSpec] = {spec.name: spec for spec in _ALL}


def read(path: Path) -> CloudSpec | None:
    """What was asked for last; None when the cloud was never made."""
    try:
        saved: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    saved["backends"] = tuple(saved["backends"])
    saved["additions"] = Additions(**saved["additions"])
    return CloudSpec(**saved)


def write(path: Path, spec: CloudSpec) -> None:
    path.write_text(json.dumps(dataclasses.asdict(spec), indent=1))
