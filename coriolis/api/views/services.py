# SPDX-License-Identifier: Apache-2.0
"""Services on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.providers import providers
from coriolis.api.views.timestamps import stamps, text
from coriolis.domain.capabilities import Capability
from coriolis.store.site_rows import Service

Json = Any

_KNOWN = {str(one): one for one in Capability}


def service(row: Service, up: bool) -> dict[str, Json]:
    """``up``: a worker of it is connected."""
    known = {name: [_KNOWN[word] for word in words if word in _KNOWN] for name, words in row.providers.items()}
    return {
        "id": row.id,
        "host": row.host,
        "binary": row.binary,
        "topic": row.topic,
        "enabled": row.enabled,
        "status": "UP" if up else "DOWN" if row.registered_at is not None else "UNKNOWN",
        "providers": providers(known),
        "specs": row.specs,
        "mapped_regions": list(row.mapped_regions),
        "registered_at": text(row.registered_at),
        **stamps(row.created_at, row.updated_at),
    }
