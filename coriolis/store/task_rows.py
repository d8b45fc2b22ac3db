# SPDX-License-Identifier: Apache-2.0
"""The planner's tasks as rows of the table ``task``, and back."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.model import ErrorClass, Need, RetryPolicy, Role, Side, Task, TaskState
from coriolis.domain.states import FINAL_TASK_STATES
from coriolis.store.rows import AnyRow


@dataclass(frozen=True)
class _Spec:
    """What the compiler fixed. The same for a step of all instances, so that its text is read only once."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    each: str | None
    params: dict[str, Any]
    needs: tuple[Need, ...]
    retry: RetryPolicy


@functools.lru_cache(maxsize=4096)
def _spec(text: str) -> _Spec:
    return from_json(_Spec, json.loads(text))


def spec_text(one: Task) -> str:
    spec = _Spec(one.takes, one.gives, one.each, one.params, one.needs, one.retry)
    return json.dumps(to_json(spec), separators=(",", ":"), sort_keys=True)


@functools.lru_cache(maxsize=1024)
def needs_key(needs: tuple[Need, ...], regions: tuple[str, ...] = ()) -> str:
    """Short, equal for tasks that can be placed on the same workers."""
    parts = sorted(f"{need.provider}:{','.join(sorted(need.capabilities))}" for need in needs)
    text = "|".join([*parts, "@", *sorted(regions)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def changing(one: Task, now: dt.datetime) -> dict[str, Any]:
    error = one.error
    return {
        "state": one.state.value,
        "not_before": (one.not_before or now) if one.state is TaskState.PENDING else None,
        "epoch": one.epoch,
        "session_id": one.session_id,
        "stop_asked": one.stop_asked,
        "attempts": one.attempts,
        "lost_sessions": one.lost_sessions,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_retryable": bool(error and error.retryable),
        "finished_at": now if one.state in FINAL_TASK_STATES else None,
        "updated_at": now,
    }


def from_row(row: AnyRow) -> Task:
    """The planner's task of a whole row."""
    spec = _spec(row.spec)
    error = None
    if row.error_code is not None:
        error = ErrorClass(code=row.error_code, message=row.error_message or "", retryable=row.error_retryable)
    return Task(
        id=row.id,
        execution_id=row.execution_id,
        instance=row.instance,
        name=row.name,
        kind=row.kind,
        type=row.type,
        index=row.index,
        side=Side(row.side),
        role=Role(row.role),
        state=TaskState(row.state),
        parents=frozenset(row.parents),
        takes=spec.takes,
        gives=spec.gives,
        each=spec.each,
        item=row.item,
        params=spec.params,
        needs=spec.needs,
        retry=spec.retry,
        maker=row.maker,
        epoch=row.epoch,
        session_id=row.session_id,
        stop_asked=row.stop_asked,
        attempts=row.attempts,
        lost_sessions=row.lost_sessions,
        not_before=row.not_before,
        error=error,
    )
