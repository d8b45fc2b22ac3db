# SPDX-License-Identifier: Apache-2.0
"""Answers about certificates."""

from __future__ import annotations

from coriolis.api.schemas.answers import (
    COUNT,
    ID,
    OBJECT,
    OBJECT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    one,
    record,
    several,
)

_KEY: dict[str, Schema] = {"algorithm": TEXT, "key_id": TEXT, "public_key": TEXT}
_DISK: Schema = record(
    {
        "disk_id": TEXT,
        "size_bytes": COUNT,
        "root": TEXT,
        "bytes_left_out": COUNT,
        "source_snapshot": TEXT_OR_NULL,
        "target_volume": TEXT_OR_NULL,
        "rounds": several(OBJECT),
        "verification": record({"mode": TEXT, "digest": TEXT_OR_NULL}),
    }
)
CERTIFICATE: Schema = record(
    {
        "format": TEXT,
        "issued_at": TEXT,
        "job": record({"id": ID, "kind": TEXT, "project_id": TEXT}),
        "execution": record({"id": ID, "type": TEXT, "started_at": TEXT_OR_NULL, "finished_at": TEXT_OR_NULL}),
        "source_platform": TEXT,
        "destination_platform": TEXT,
        "digest": record({"algorithm": TEXT, "leaf_size": COUNT, "definition": TEXT}),
        "instances": several(
            record({"instance": TEXT, "target_instance": OBJECT_OR_NULL, "disks": several(_DISK)}),
        ),
        "signature": record({**_KEY, "value": TEXT}),
    }
)
ONE_CERTIFICATE: Schema = one("certificate", CERTIFICATE)
ONE_KEY: Schema = one("certificate_key", record(_KEY))
