# SPDX-License-Identifier: Apache-2.0
"""Answers about tasks, their progress and their events."""

from __future__ import annotations

from coriolis.api.schemas.answers import (
    COUNT,
    FLAG,
    ID,
    ID_OR_NULL,
    NULL,
    STAMPS,
    TEXT,
    TEXT_OR_NULL,
    TIME_OR_NULL,
    Schema,
    many,
    one,
    record,
    several,
)

PROGRESS_UPDATE: Schema = record(
    {
        "id": TEXT,
        "task_id": ID,
        "index": COUNT,
        "item": TEXT,
        "current_step": COUNT,
        "total_steps": COUNT,
        "message": TEXT,
        **STAMPS,
    }
)
EVENT: Schema = record(
    {
        "id": TEXT,
        "task_id": ID_OR_NULL,
        "level": {"type": "string", "enum": ["INFO", "WARNING", "ERROR"]},
        "index": COUNT,
        "message": TEXT,
        **STAMPS,
    }
)
TASK: Schema = record(
    {
        "id": ID,
        "execution_id": ID,
        "instance": TEXT,
        "name": TEXT,
        "item": TEXT_OR_NULL,
        "task_type": TEXT,
        "index": {"type": "integer", "minimum": 1},
        "status": TEXT,
        "depends_on": several(ID),
        "on_error": FLAG,
        "host": TEXT_OR_NULL,
        "process_id": NULL,
        "attempts": COUNT,
        "error_code": TEXT_OR_NULL,
        "exception_details": TEXT_OR_NULL,
        "progress_updates": several(PROGRESS_UPDATE),
        "events": several(EVENT),
        "started_at": TIME_OR_NULL,
        "finished_at": TIME_OR_NULL,
        **STAMPS,
    }
)
TASKS = many("tasks", TASK)
ONE_TASK = one("task", TASK)
PROGRESS_UPDATES = many("progress_updates", PROGRESS_UPDATE)
# since and status: answers of a long poll have them.
EVENTS = record({"events": several(EVENT), "since": TEXT, "status": TEXT}, optional=("since", "status"))
