# SPDX-License-Identifier: Apache-2.0
"""Two changes that were made up at the same moment: the second one is told to look again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coriolis.commands import bandwidth_budgets, regions, services
from coriolis.commands.bandwidth_budgets import NewBudget
from coriolis.commands.services import NewService
from coriolis.domain.errors import Conflict
from coriolis.store.engine import Database
from tests.unit.conductor.rig import CALLER, Rig


def _region(db: Database) -> tuple[Any, Callable[..., Any]]:
    made = regions.create(db, CALLER, name="here")
    return made, lambda seen, number: regions.update(db, made.id, {"description": str(number)}, seen=seen)


def _service(db: Database) -> tuple[Any, Callable[..., Any]]:
    made = services.create(db, NewService(host="h", binary="coriolis-worker", topic="coriolis_worker"))
    return made, lambda seen, number: services.update(db, made.id, enabled=bool(number % 2), seen=seen)


def _budget(db: Database) -> tuple[Any, Callable[..., Any]]:
    made = bandwidth_budgets.create(db, NewBudget(name="b", scope="host", target={"host": "h"}, bytes_per_second=1))
    return made, lambda seen, number: bandwidth_budgets.update(db, made.id, {"streams": number}, seen=seen)


@pytest.mark.parametrize("noun", [_region, _service, _budget])
def test_what_was_changed_meanwhile_is_not_overwritten(rig: Rig, noun: Callable[..., Any]) -> None:
    made, change = noun(rig.db)
    first = change(made, 1)
    with pytest.raises(Conflict, match="at the same moment"):
        change(made, 2)
    rig.clock.forward(1)
    assert change(first, 3).updated_at > first.updated_at
