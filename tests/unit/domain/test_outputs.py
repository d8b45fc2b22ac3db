# SPDX-License-Identifier: Apache-2.0
"""Names of outputs on both sides of a worker, and the expansion of placeholders."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from coriolis.domain import expand, outputs
from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.errors import Invalid
from coriolis.domain.model import Role, Task
from coriolis.domain.recipes.migrate import MIGRATE

ALL = Platform("null", frozenset(Capability))


def graph() -> dict[str, Task]:
    rows = compile_instance(
        MIGRATE, execution_id="e", instance="vm", source=ALL, destination=ALL, options=Options(rounds=2)
    )
    return {row.name: row for row in rows}


def grown(*disks: str) -> dict[str, Task]:
    tasks = graph()
    vm = {"devices": {"disks": [{"id": disk} for disk in disks]}}
    placeholders = [task for task in tasks.values() if task.each]
    new, changed = expand.expand(placeholders, tasks.values(), {"vm": vm})
    return tasks | {task.name: task for task in (*changed, *new)}


def test_a_copy_of_the_second_round_knows_its_own_disk_only() -> None:
    copy = grown("a", "b")["copy.2/b"]
    stored = {
        "vm": 1,
        "volumes": 2,
        "snapshot@1": 3,
        "snapshot@2": 4,
        "digest@1/a": 5,
        "digest@1/b": 6,
        "digest@2/a": 7,
    }
    assert outputs.inputs(copy, stored) == {
        "vm": 1,
        "volumes": 2,
        "snapshot@prev": 3,
        "snapshot": 4,
        "digest@prev": 6,
    }
    assert outputs.named(copy, {"digest": "d", "noise": 0}) == {"digest@2/b": "d"}


def test_items_wait_for_their_own_item_and_others_for_all() -> None:
    tasks = grown("a", "b")
    verify, deploy = tasks["verify.2/a"], tasks["deploy"]
    assert tasks["copy.2/a"].id in verify.parents
    assert tasks["copy.2/b"].id not in verify.parents
    assert {tasks["verify.2/a"].id, tasks["verify.2/b"].id} <= deploy.parents
    assert tasks["verify.2"].id not in deploy.parents
    cleanup = tasks["cleanup/snapshot.1"].parents
    assert {tasks["copy.1/a"].id, tasks["copy.2/b"].id} <= cleanup


def test_no_items_leave_what_the_placeholder_waited_for() -> None:
    tasks = grown()
    assert tasks["volumes"].id in tasks["deploy"].parents
    assert tasks["copy.2"].id not in tasks["deploy"].parents
    known = {task.id for task in tasks.values() if not task.each}
    assert all(task.parents <= known for task in tasks.values() if not task.each)


def test_a_task_may_take_all_items() -> None:
    whole = dataclasses.replace(graph()["deploy"], takes=("digest@2",))
    assert outputs.inputs(whole, {"digest@2/a": 1, "digest@2/b": 2, "digest@1/a": 3}) == {"digest": {"a": 1, "b": 2}}


def test_a_missing_input_of_work_is_an_error_and_of_a_removal_is_not() -> None:
    with pytest.raises(Invalid, match="takes 'vm'"):
        outputs.inputs(graph()["plan"], {})
    assert graph()["undo/volumes"].role is Role.UNDO
    assert outputs.available(graph()["undo/volumes"], {"vm": 1}) == {"vm": 1}


def test_a_promised_output_must_come() -> None:
    with pytest.raises(Invalid, match="without its output 'vm'"):
        outputs.named(graph()["inspect"], {"layout": 1})


BAD: dict[str, tuple[Any, str]] = {
    "no devices": ({}, "has no 'vm.devices.disks'"),
    "not a mapping": ({"devices": 3}, "has no"),
    "no list": ({"devices": {"disks": {}}}, "not a list"),
    "no id": ({"devices": {"disks": [{}]}}, "no id"),
    "long id": ({"devices": {"disks": [{"id": "x" * 201}]}}, "more than 200"),
    "twice": ({"devices": {"disks": [{"id": "a"}, {"id": "a"}]}}, "Two items"),
    "too many": ({"devices": {"disks": [{"id": str(n)} for n in range(1001)]}}, "1001 items"),
}


@pytest.mark.parametrize(("vm", "reason"), BAD.values(), ids=BAD.keys())
def test_a_list_that_cannot_be_run_over_is_refused(vm: Any, reason: str) -> None:
    tasks = graph()
    with pytest.raises(Invalid, match=reason):
        expand.expand([tasks["copy.1"]], tasks.values(), {"vm": vm})
