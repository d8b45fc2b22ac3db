# SPDX-License-Identifier: Apache-2.0
"""Cancel at every stage."""

from __future__ import annotations

import pytest

from coriolis.commands import migrations as commands
from coriolis.domain.errors import InvalidState
from coriolis.rpc.messages import Cancel
from coriolis.store import executions
from tests.unit.conductor.rig import CALLER, Rig


def test_before_it_is_compiled(rig: Rig) -> None:
    rig.worker()
    made = rig.create("a", "b")
    commands.cancel(rig.db, CALLER, made.id)
    rig.advance()
    assert rig.migration(made).last_execution_status == "CANCELED"
    assert rig.execution(made).finished_at is not None
    assert rig.dispatch() == []


def test_between_two_tasks(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    assert rig.end(rig.held[0]).accepted
    rig.cancel(made)
    assert rig.migration(made).last_execution_status == "CANCELED"
    assert rig.states(made)["plan"] == "UNSCHEDULED"


def test_the_worker_is_told_at_once(rig: Rig) -> None:
    session_id = rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    rig.relay()
    rig.cancel(made)
    task_id = rig.held[0].attempt.task_id
    assert ("coriolis_worker", Cancel(task_ids=(task_id,)), session_id) in rig.relay()


def test_twice_needs_force(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    rig.cancel(made)
    with pytest.raises(InvalidState, match="force"):
        rig.cancel(made)
    rig.cancel(made, force=True)
    assert rig.migration(made).last_execution_status == "CANCELED"
    with pytest.raises(InvalidState, match="CANCELED already"):
        rig.cancel(made, force=True)


def test_a_force_while_a_cancel_is_carried_out_is_not_forgotten(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    commands.cancel(rig.db, CALLER, made.id)
    commands.cancel(rig.db, CALLER, made.id, force=True)
    rig.db.write(executions.cancelled, rig.execution(made).id, force=False)  # a conductor that saw no force yet
    rig.advance()
    assert rig.migration(made).last_execution_status == "CANCELED"


def test_one_that_is_over_is_not_cancelled(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    rig.run()
    with pytest.raises(InvalidState, match="COMPLETED already"):
        rig.cancel(made)
