# SPDX-License-Identifier: Apache-2.0
"""The rules for existing clients notice what those clients stumble over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.client_needs import key_faults, web_faults

TASK = {
    "id": "t",
    "task_type": "REPLICATE_DISKS",
    "instance": "web",
    "status": "RUNNING",
    "depends_on": None,
    "exception_details": None,
    "progress_updates": [{"created_at": "t", "message": "", "index": 0, "current_step": 0, "total_steps": 0}],
}
EXECUTION = {"id": "e", "action_id": "a", "status": "RUNNING", "created_at": "t", "updated_at": None, "tasks": [TASK]}
EXPORTED = {"export_info": {"devices": {"disks": [], "nics": []}}}
TRANSFER = {
    "last_execution_status": "UNEXECUTED",
    "instances": ["web"],
    "source_environment": {"a": 1},
    "destination_environment": None,
    "mapped_regions": [],
    "info": {"web": EXPORTED},
}


def test_good_answers_have_no_faults() -> None:
    assert list(key_faults("execution", EXECUTION)) == []
    assert list(web_faults(EXECUTION)) == []
    assert list(web_faults(TRANSFER)) == []


@pytest.mark.parametrize("key", sorted(EXECUTION))
def test_a_missing_key_is_noticed(key: str) -> None:
    assert list(key_faults("execution", {k: v for k, v in EXECUTION.items() if k != key}))


@pytest.mark.parametrize("key", sorted(TASK))
def test_a_missing_key_of_a_task_is_noticed(key: str) -> None:
    task = {k: v for k, v in TASK.items() if k != key}
    assert list(key_faults("execution", {**EXECUTION, "tasks": [task]}))


@pytest.mark.parametrize(
    "change",
    [
        {"last_execution_status": None},
        {"instances": []},
        {"instances": [None]},
        {"source_environment": {"a": None}},
        {"mapped_regions": None},
        {"minion_machines": None},
        {"info": {"web": None}},
        {"info": {"web": {"export_info": {"devices": {"disks": []}}}}},
        {"info": {"web": EXPORTED, "db": {}}},
        {"tasks": [{**TASK, "instance": None}]},
        {"tasks": [{**TASK, "progress_updates": None}]},
        {"tasks": [{**TASK, "progress_updates": [{"message": None}]}]},
    ],
)
def test_what_breaks_the_browser_client_is_noticed(change: dict[str, Any]) -> None:
    assert list(web_faults({**TRANSFER, **change}))
