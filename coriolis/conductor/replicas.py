# SPDX-License-Identifier: Apache-2.0
"""What executions leave of a replica.

The row of a replica is written in the transaction that ends its machine's part of an execution; one transfer has one
running execution at most, so nobody writes it meanwhile.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.domain.journal_name import name_of
from coriolis.domain.model import ExecutionState, Role, Task, TaskState
from coriolis.domain.recipe import Step
from coriolis.domain.recipes.deploy import DEPLOY_CLONES, DEPLOY_IN_PLACE
from coriolis.domain.recipes.steps import FINALIZE
from coriolis.domain.recipes.transfer import DELETE_DISKS, FORGET_SOURCE, REPLICATE
from coriolis.domain.retry import MISMATCH
from coriolis.store import actions, executions, journals, outputs
from coriolis.store import replicas as rows
from coriolis.store.rows import Execution, Replica

Key = tuple[str, int]
End = tuple[ExecutionState, tuple[Task, ...]]

_WRITERS = frozenset({REPLICATE.name, DELETE_DISKS.name, FORGET_SOURCE.name, DEPLOY_IN_PLACE.name, DEPLOY_CLONES.name})


def settle(conn: Connection, ended: Mapping[Key, End], now: dt.datetime) -> None:
    """Writes the replicas of these machines as the ends of their runs leave them. One statement when none of them
    belongs to a transfer."""
    if not ended:
        return
    runs = executions.find(conn, sorted({key[0] for key in ended}))
    mine = {key: end for key, end in ended.items() if runs[key[0]].recipe in _WRITERS}
    if not mine:
        return
    jobs = actions.find(conn, sorted({runs[key[0]].action_id for key in mine}))
    places = {key: (jobs[runs[key[0]].action_id].replica_of, key[1]) for key in mine}
    before = rows.find(conn, sorted(set(places.values())))
    made = outputs.of_instances(conn, [key for key in mine if runs[key[0]].recipe == REPLICATE.name])
    left: list[Replica] = []
    for key, (state, tasks) in mine.items():
        run, place = runs[key[0]], places[key]
        known = before.get(place) or _nothing(place, tasks, now)
        if run.recipe == REPLICATE.name:
            left.append(_replicated(known, run, state, tasks, made[key]))
        elif run.recipe == DEPLOY_IN_PLACE.name:
            if state is ExecutionState.COMPLETED:
                rows.hand_over(conn, *place, ("volume",), now)
                left.append(dataclasses.replace(known, volumes=None, complete=False, digest=None))
            elif _has_begun(FINALIZE, tasks) or _differs(tasks):
                left.append(_unknown(conn, known))  # the machine may have run, and written what no journal knows
        elif run.recipe == DEPLOY_CLONES.name:
            if state is not ExecutionState.COMPLETED and _differs(tasks):
                left.append(_unknown(conn, known))
        else:
            left.append(dataclasses.replace(known, complete=known.complete and state is ExecutionState.COMPLETED))
    found = _still_there(conn, left)
    rows.put(conn, [dataclasses.replace(one, updated_at=now) for one in found])
    _forget_journals(conn, before, found)


def _has_begun(step: Step, tasks: Sequence[Task]) -> bool:
    return any(task.kind == step.kind and task.role is Role.WORK and task.epoch > 0 for task in tasks)


def _differs(tasks: Sequence[Task]) -> bool:
    """Whether volumes were found to hold other bytes than were copied to them."""
    return any(task.error is not None and task.error.code == MISMATCH for task in tasks)


def _unknown(conn: Connection, known: Replica) -> Replica:
    """The same, of whose bytes nothing is known: no journal holds any more."""
    journals.forget_some(conn, known.transfer_id, _names(known, known.volumes or ()))
    return dataclasses.replace(known, complete=False, digest=None, era=known.era + 1)


def _forget_journals(conn: Connection, before: Mapping[Key, Replica], after: Sequence[Replica]) -> None:
    """What was known of volumes that are gone. No statement when all are still there."""
    for one in after:
        old = before.get((one.transfer_id, one.position))
        there = {volume["ref"] for volume in one.volumes or ()}
        gone = [volume for volume in (old.volumes or () if old else ()) if volume["ref"] not in there]
        if gone:
            journals.forget_some(conn, one.transfer_id, _names(one, gone))


def _names(replica: Replica, volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the journals of these volumes."""
    return [name_of(replica.instance, one["disk_id"], one["ref"], replica.era) for one in volumes]


def _nothing(place: Key, tasks: Sequence[Task], now: dt.datetime) -> Replica:
    return Replica(
        transfer_id=place[0],
        position=place[1],
        instance=tasks[0].instance if tasks else "",
        volumes=None,
        complete=False,
        vm=None,
        layout=None,
        snapshot=None,
        digest=None,
        execution_id=None,
        updated_at=now,
    )


def _replicated(
    known: Replica, run: Execution, state: ExecutionState, tasks: Sequence[Task], made: Mapping[str, Any]
) -> Replica:
    """The volumes hold a whole point in time when all copies of the last round have ended well. When some have only
    begun, they hold something between two: only another execution can mend that."""
    volumes = made.get("volumes", known.volumes)
    copies = [task for task in tasks if task.kind == "copy" and task.role is Role.WORK]
    last = max((int(task.params.get("round", 1)) for task in copies), default=1)
    final = [task for task in copies if task.params.get("round", 1) == last and not task.each]
    whole = "volumes" in made and "vm" in made and all(task.state is TaskState.COMPLETED for task in final)
    if whole and (final or not made["volumes"]):
        prefix = f"digest@{last}/"
        return dataclasses.replace(
            known,
            volumes=volumes,
            complete=True,
            vm=made["vm"],
            layout=made["layout"],
            snapshot=made.get(f"snapshot@{last}") if state is ExecutionState.COMPLETED else None,
            digest={name.removeprefix(prefix): value for name, value in made.items() if name.startswith(prefix)},
            execution_id=run.id,
        )
    begun = any(task.epoch > 0 for task in copies)
    if begun or known.vm is None:
        known = dataclasses.replace(known, vm=made.get("vm", known.vm), layout=made.get("layout", known.layout))
    return dataclasses.replace(known, volumes=volumes, complete=known.complete and not begun)


def _still_there(conn: Connection, left: Sequence[Replica]) -> list[Replica]:
    """Without what the ledger says is gone: an undo or a removal of disks may have taken some."""
    wanted = {(one.transfer_id, one.position): ("volume", "snapshot") for one in left}
    kept = rows.kept(conn, wanted, live_only=True)
    found = []
    for one in left:
        live = kept[(one.transfer_id, one.position)]
        volumes = {effect.ref["ref"] for effect in live if effect.kind == "volume" and effect.ref}
        marks = {effect.ref["ref"] for effect in live if effect.kind == "snapshot" and effect.ref}
        there = [volume for volume in one.volumes or () if volume["ref"] in volumes]
        whole = len(there) == len(one.volumes or ())
        found.append(
            dataclasses.replace(
                one,
                volumes=there or (one.volumes if one.volumes == [] else None),
                complete=one.complete and whole and one.volumes is not None,
                snapshot=one.snapshot if one.snapshot and one.snapshot["ref"] in marks else None,
            )
        )
    return found
