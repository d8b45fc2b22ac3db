# SPDX-License-Identifier: Apache-2.0
"""Schedules of transfers: create, change, delete, and fire.

The minute that comes next is stored, and only ever moves on: whoever moves it starts the execution in the same
transaction. So any number of schedulers fire once, minutes that nobody was there for are made up for by one execution,
and a clock that goes back fires nothing twice.
"""

from __future__ import annotations

import datetime as dt
import enum
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import executions
from coriolis.commands.caller import Caller
from coriolis.domain.calendar import Calendar, next_fire
from coriolis.domain.errors import Conflict, CoriolisError, Invalid, InvalidState, Unavailable
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, idempotency, schedules
from coriolis.store.engine import Database
from coriolis.store.rows import Action
from coriolis.store.standing_rows import Schedule

LOG = logging.getLogger(__name__)

POSTPONED = dt.timedelta(minutes=1)  # when no worker is there, it is tried again so much later
WRONG = dt.timedelta(days=1)
_LONGEST_MESSAGE = 1024


@dataclass(frozen=True, kw_only=True)
class NewSchedule:
    """``calendar``: fields of ``domain.calendar.Calendar``. Times are naive UTC."""

    calendar: Mapping[str, int]
    expiration_date: dt.datetime | None = None
    enabled: bool = True
    shutdown_instance: bool = False
    auto_deploy: bool = False


class Outcome(enum.StrEnum):
    """What became of a schedule that was due."""

    STARTED = "started"
    SKIPPED = "skipped"  # a run was under way
    POSTPONED = "postponed"  # no worker is there
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # another scheduler was faster, or the user


def create(
    db: Database,
    caller: Caller,
    transfer_id: str,
    new: NewSchedule,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Schedule:
    """The same key again gives the same schedule.

    :raises NotFound: no such transfer in the caller's project
    :raises Invalid: there is no such day in any year, or it expires before it begins
    :raises Conflict: the key was used with another request
    """
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Schedule:
        row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, db.utcnow())
        if known is not None:
            return schedules.get(conn, row.id, known)
        made_row = _checked(_row(made, caller, row, new, db.utcnow()), schedules.clock(conn))
        schedules.insert(conn, made_row)
        return made_row

    return db.write(use)


def update(db: Database, caller: Caller, transfer_id: str, schedule_id: str, changes: Mapping[str, Any]) -> Schedule:
    """Changes the fields of ``NewSchedule`` that are named.

    :raises NotFound: no such transfer in the caller's project, or it has no such schedule
    :raises Invalid: as ``create``
    :raises Conflict: somebody else changes it, or it fires, at the same moment
    """

    def use(conn: Connection) -> Schedule:
        row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
        old = schedules.get(conn, row.id, schedule_id)
        new = replace(old, **changes, updated_at=db.utcnow())
        now = schedules.clock(conn)
        new = _checked(new, now) if "expiration_date" in changes else _timed(new, now)
        values = {name: getattr(new, name) for name in (*changes, "next_fire_at", "updated_at")}
        if not schedules.change(conn, old, values):
            raise Conflict("The schedule was changed, or fired, at the same moment. Look at it, and send yours again.")
        return schedules.get(conn, row.id, schedule_id)

    return db.write(use)


def delete(db: Database, caller: Caller, transfer_id: str, schedule_id: str) -> None:
    """What it has started goes on.

    :raises NotFound: no such transfer in the caller's project, or it has no such schedule
    :raises InvalidState: the transfer runs; the contract has it so
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
        found = schedules.get(conn, row.id, schedule_id)
        if row.last_execution_status not in (*FINAL_EXECUTION_STATES, ExecutionState.UNEXECUTED):
            raise InvalidState(
                f"The transfer is {row.last_execution_status}. Delete the schedule when the execution is over, or "
                "disable it now."
            )
        schedules.delete(conn, found.id)

    db.write(use)


# ---- firing ----------------------------------------------------------------------------------------------------


def due(db: Database, *, limit: int) -> list[Schedule]:
    """At most ``limit`` schedules whose minute has come, the longest due first. Two statements."""

    def look(conn: Connection) -> list[Schedule]:
        return schedules.due(conn, schedules.clock(conn), limit)

    return db.read(look)


def fire(db: Database, row: Schedule) -> Outcome:
    """Starts the execution of a schedule that was found due, unless somebody else has."""
    return db.write(_fire, db, row)


def _fire(conn: Connection, db: Database, row: Schedule) -> Outcome:
    now = schedules.clock(conn)
    if row.next_fire_at is None or row.next_fire_at > now:  # the clock went back since the look
        return Outcome.ELSEWHERE
    if not schedules.change(conn, row, _moved_on(row, now)):
        return Outcome.ELSEWHERE
    held = replace(row, version=row.version + 1)
    outcome, message = _start(conn, db, row)
    values: dict[str, Any] = {"message": message[:_LONGEST_MESSAGE]}
    if outcome is Outcome.POSTPONED:
        values.update(next_fire_at=now + POSTPONED, last_fired_at=row.last_fired_at)
    schedules.change(conn, held, values)
    log = LOG.info if outcome is Outcome.STARTED else LOG.warning
    log("Schedule %s of transfer %s, due at %s: %s", row.id, row.transfer_id, row.next_fire_at, message)
    return outcome


def _start(conn: Connection, db: Database, row: Schedule) -> tuple[Outcome, str]:
    """Nothing of a refused start is kept."""
    caller = Caller(
        user_id=row.user_id,
        project_id=row.project_id,
        request_id=f"req-{uuid.uuid4()}",
        trust_id=row.trust_id,
    )
    try:
        with conn.begin_nested():
            run = executions.start(
                conn,
                caller,
                row.transfer_id,
                db.utcnow(),
                key=str(uuid.uuid4()),
                shutdown_instances=row.shutdown_instance,
                auto_deploy=row.auto_deploy,
            )
    except (InvalidState, Conflict) as error:
        return Outcome.SKIPPED, f"Skipped: {error.message}"
    except Unavailable as error:
        return Outcome.POSTPONED, f"Postponed: {error.message}"
    except CoriolisError as error:
        return Outcome.FAILED, f"Failed: {error.message}"
    return Outcome.STARTED, f"Started execution {run.id}."


def _moved_on(row: Schedule, now: dt.datetime) -> dict[str, Any]:
    """All minutes up to now are made up for by this one firing."""
    moved = _timed(replace(row, last_fired_at=now.replace(second=0, microsecond=0)), now)
    return {"last_fired_at": moved.last_fired_at, "next_fire_at": moved.next_fire_at}


# ---- parts -----------------------------------------------------------------------------------------------------


def _row(key: str, caller: Caller, transfer: Action, new: NewSchedule, now: dt.datetime) -> Schedule:
    return Schedule(
        id=key,
        transfer_id=transfer.id,
        project_id=transfer.project_id,
        user_id=caller.user_id,
        calendar=dict(new.calendar),
        expiration_date=new.expiration_date,
        enabled=new.enabled,
        shutdown_instance=new.shutdown_instance,
        auto_deploy=new.auto_deploy,
        trust_id=caller.trust_id,
        next_fire_at=None,
        last_fired_at=None,
        message=None,
        version=0,
        created_at=now,
        updated_at=None,
    )


def _checked(row: Schedule, now: dt.datetime) -> Schedule:
    """With its next minute. :raises Invalid: it could never fire"""
    if row.expiration_date is not None and row.expiration_date <= now:
        raise Invalid("expiration_date must be in the future", field="expiration_date")
    return _timed(row, now)


def _timed(row: Schedule, now: dt.datetime) -> Schedule:
    """With its next minute, which is after now, and after every minute for which it fired; but not after one that a
    clock that was wrong by more than a day has left."""
    fired = row.last_fired_at
    after = now if fired is None or fired > now + WRONG else max(now, fired)
    following = next_fire(Calendar(**row.calendar), after)
    if following is None:
        raise Invalid("schedule: no year has such a day, so that it would never fire", field="schedule")
    expired = row.expiration_date is not None and following >= row.expiration_date
    return replace(row, next_fire_at=None if expired or not row.enabled else following)
