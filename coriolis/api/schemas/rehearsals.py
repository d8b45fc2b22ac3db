# SPDX-License-Identifier: Apache-2.0
"""The answer of a dry run."""

from __future__ import annotations

from coriolis.api.schemas import answers
from coriolis.api.schemas.answers import COUNT, FLAG, OBJECT_OR_NULL, TEXT, TEXT_OR_NULL, Schema, record, several

CONCERN = record({"side": TEXT, "code": TEXT, "message": TEXT, "blocking": FLAG})
DRY_RUN = record(
    {
        "possible": FLAG,
        "recipe": TEXT,
        "size_bytes": COUNT,
        "concerns": several(CONCERN),
        "instances": several(
            record(
                {
                    "instance": TEXT,
                    "possible": FLAG,
                    "size_bytes": COUNT,
                    "concerns": several(CONCERN),
                    "export_info": OBJECT_OR_NULL,
                    "layout": OBJECT_OR_NULL,
                    "disks": several(
                        record(
                            {"disk_id": TEXT, "size_bytes": COUNT, "source": TEXT_OR_NULL, "destination": TEXT_OR_NULL}
                        )
                    ),
                    "networks": several(
                        record(
                            {
                                "nic_id": TEXT,
                                "mac_address": TEXT_OR_NULL,
                                "source": TEXT_OR_NULL,
                                "destination": TEXT_OR_NULL,
                            }
                        )
                    ),
                    "tasks": several(record({"name": TEXT, "task_type": TEXT})),
                }
            )
        ),
    }
)


def or_dry_run(name: str, item: Schema) -> Schema:
    """The answer of a create: the object, or with ``dry_run`` what would be made."""
    return answers.record({name: item, "dry_run": DRY_RUN}, optional=(name, "dry_run"))
