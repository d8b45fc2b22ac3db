# SPDX-License-Identifier: Apache-2.0
"""Answers about the versions of the API."""

from __future__ import annotations

from coriolis.api.schemas.answers import OBJECT, TEXT, many, one, record, several

_VERSION = record(
    {
        "id": TEXT,
        "status": TEXT,
        "version": TEXT,
        "min_version": TEXT,
        "updated": TEXT,
        "links": several(record({"rel": TEXT, "href": TEXT})),
    }
)
VERSIONS = many("versions", _VERSION)
ONE_VERSION = one("version", _VERSION)
OPENAPI = OBJECT
