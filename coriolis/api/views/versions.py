# SPDX-License-Identifier: Apache-2.0
"""Version documents."""

from __future__ import annotations

from typing import Any

Json = Any


def version(base_url: str) -> dict[str, Json]:
    return {
        "id": "v1.0",
        "status": "CURRENT",
        "version": "",
        "min_version": "",
        "updated": "2026-11-20T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base_url.rstrip('/')}/v1"}],
    }
