# SPDX-License-Identifier: Apache-2.0
"""Names of outputs: as rows hold them (``digest@2/disk-0``) and as a recipe and a worker use them (``digest``).

The stored name says round and item; the name in a recipe is relative to the task: ``digest`` of its own round and
item, ``digest@prev`` of the round before.
"""

from __future__ import annotations

from collections.abc import Mapping

from coriolis.domain.errors import Invalid
from coriolis.domain.model import Json, Task
from coriolis.domain.recipe import PREVIOUS, REPLICA, base_name


def inputs(task: Task, stored: Mapping[str, Json]) -> dict[str, Json]:
    """What the worker gets: the values of ``task.takes``, by the names of the recipe.

    ``stored`` holds the outputs of the instance (others than the task's own are ignored). An output that was given
    per item, and that a task takes as a whole, becomes a mapping from item to value.
    :raises Invalid: one is missing, which a correct graph cannot bring about
    """
    found = available(task, stored)
    for name in task.takes:
        if local_name(task, name) not in found:
            raise Invalid(f"{task.name} takes '{name}', which is not there.")
    return found


def available(task: Task, stored: Mapping[str, Json]) -> dict[str, Json]:
    """As ``inputs``, as far as they are there: an undo or a cleanup may come before its maker's inputs are complete."""
    found: dict[str, Json] = {}
    for name in task.takes:
        prefix = f"{name}/"
        items = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        if name in stored or items:
            found[local_name(task, name)] = stored.get(name, items)
    return found


def named(task: Task, given: Mapping[str, Json]) -> dict[str, Json]:
    """A result's outputs by their stored names.

    :raises Invalid: one that the task promises is missing; what it does not promise is dropped
    """
    wanted = {local_name(task, name): name for name in task.gives}
    missing = sorted(set(wanted) - set(given))
    if missing:
        raise Invalid(f"{task.name} ended without its output '{missing[0]}'.")
    return {name: given[local] for local, name in wanted.items()}


def local_name(task: Task, stored: str) -> str:
    """The name that the recipe and the worker use for this stored name."""
    plain = stored.split("/", 1)[0]
    if plain.endswith(REPLICA):
        return plain
    number = task.params.get("round")
    if number is not None and plain.endswith(f"@{number - 1}"):
        return base_name(plain) + PREVIOUS
    return base_name(plain)
