# SPDX-License-Identifier: Apache-2.0
"""What the running processes run on."""

from __future__ import annotations

from typing import Any

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.commands.presence import SILENT_SECONDS
from coriolis.store import processes

Json = Any

# What the contract names; a process of an older release may lack some.
_EMPTY: dict[str, Json] = {
    "hostname": None,
    "release_tag": None,
    "python": None,
    "os_info": [],
    "ip_addresses": [],
    "packages": [],
}


def show(request: ApiRequest, services: Services) -> Json:
    """Each process once, by program and host."""
    with services.db.reader() as conn:
        rows = processes.present(conn, SILENT_SECONDS)
    return {
        "diagnostics": [
            {
                **{name: row.specs.get(name, empty) for name, empty in _EMPTY.items()},
                "application": row.application,
                "host": row.host,
                "pid": row.pid,
            }
            for row in rows
        ]
    }
