# SPDX-License-Identifier: Apache-2.0
"""What a process runs on: host, operating system, addresses, installed packages. No option and no credential."""

from __future__ import annotations

import platform
import socket
from importlib import metadata
from typing import Any

import psutil

DISTRIBUTION = "coriolis"

_FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}


def collect(application: str) -> dict[str, Any]:
    """One entry of ``GET .../diagnostics``. Takes some ten milliseconds."""
    return {
        "application": application,
        "release_tag": metadata.version(DISTRIBUTION),
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "os_info": [f"{name}={value}" for name, value in sorted(_os_release().items())],
        "ip_addresses": [{name: addresses} for name, addresses in sorted(_addresses().items())],
        "packages": sorted({f"{one.name}=={one.version}" for one in metadata.distributions() if one.name}),
    }


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {"NAME": platform.system(), "VERSION": platform.release()}


def _addresses() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for name, entries in psutil.net_if_addrs().items():
        found[name] = {"ipv4": [], "ipv6": []}
        for entry in entries:
            family = _FAMILIES.get(entry.family)
            if family is not None:
                found[name][family].append(entry.address)
    return found
