# SPDX-License-Identifier: Apache-2.0
"""Answers about diagnostics."""

from __future__ import annotations

from coriolis.api.schemas.answers import NUMBER, TEXT, TEXT_OR_NULL, by_name, many, record, several

_ADDRESSES = record({"ipv4": several(TEXT), "ipv6": several(TEXT)})
DIAGNOSTICS = many(
    "diagnostics",
    record(
        {
            "application": TEXT,
            "host": TEXT,
            "pid": NUMBER,
            "hostname": TEXT_OR_NULL,
            "release_tag": TEXT_OR_NULL,
            "python": TEXT_OR_NULL,
            "os_info": several(TEXT),
            "ip_addresses": several(by_name(_ADDRESSES)),
            "packages": several(TEXT),
        }
    ),
)
