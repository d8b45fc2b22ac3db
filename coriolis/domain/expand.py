# SPDX-License-Identifier: Apache-2.0
"""Placeholders become one task per item, as soon as the list that they run over is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from coriolis.domain.compile import task_id
from coriolis.domain.errors import Invalid
from coriolis.domain.model import Json, Task, TaskState

MAX_ITEMS = 1000
MAX_ID = 200  # it becomes part of the task's name


def over(placeholder: Task, outputs: Mapping[str, Json]) -> bool:
    """True when these outputs hold the list of the placeholder."""
    return placeholder.each is not None and placeholder.each.split(".", 1)[0] in outputs


def expand(
    placeholders: Iterable[Task], tasks: Iterable[Task], outputs: Mapping[str, Json]
) -> tuple[list[Task], list[Task]]:
    """(the new tasks, the other tasks whose parents or takes change).

    New tasks are SCHEDULED. Between placeholders over the same list an item waits for its own item only; whoever
    else waited for a placeholder waits for all its items.
    :raises Invalid: the list is missing, too long, or its items have no unique ``id``
    """
    found = {each.id: each for each in placeholders}
    items = {each: _items(each, outputs) for each in {task.each or "" for task in found.values()}}
    spread = _Spread(found, items)
    new = [
        spread.item_task(placeholder, item) for placeholder in found.values() for item in items[placeholder.each or ""]
    ]
    changed = [
        spread.consumer(task)
        for task in tasks
        if task.id not in found and task.state is TaskState.SCHEDULED and task.parents & found.keys()
    ]
    return new, changed


def _items(each: str, outputs: Mapping[str, Json]) -> list[str]:
    root, *path = each.split(".")
    value: Json = outputs[root]
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            raise Invalid(f"The output '{root}' has no '{each}'.")
        value = value[key]
    if not isinstance(value, list):
        raise Invalid(f"'{each}' is not a list.")
    ids = [str(item.get("id") or "") if isinstance(item, Mapping) else "" for item in value]
    if not all(0 < len(each) <= MAX_ID for each in ids):
        raise Invalid(f"An item of '{each}' has no id, or one of more than {MAX_ID} characters.")
    if len(set(ids)) != len(ids):
        raise Invalid(f"Two items of '{each}' have one id.")
    if len(ids) > MAX_ITEMS:
        raise Invalid(f"'{each}' has {len(ids)} items; at most {MAX_ITEMS} are possible.")
    return ids


class _Spread:
    """What each placeholder stands for."""

    def __init__(self, placeholders: Mapping[str, Task], items: Mapping[str, list[str]]) -> None:
        self.placeholders = placeholders
        self.items = items
        self.given = {(task.each, name) for task in placeholders.values() for name in task.gives}

    def ids(self, placeholder: Task) -> set[str]:
        return {_item_id(placeholder, item) for item in self.items[placeholder.each or ""]}

    def stands_for(self, parent: str) -> set[str]:
        """The tasks to wait for instead of this one. Without items, what the placeholder itself waited for."""
        placeholder = self.placeholders.get(parent)
        if placeholder is None:
            return {parent}
        return self.ids(placeholder) or set().union(*(self.stands_for(each) for each in placeholder.parents))

    def item_task(self, placeholder: Task, item: str) -> Task:
        parents: set[str] = set()
        for parent in placeholder.parents:
            other = self.placeholders.get(parent)
            beside = other is not None and other.each == placeholder.each
            parents |= {_item_id(other, item)} if other and beside else self.stands_for(parent)
        maker = self.placeholders.get(placeholder.maker or "")
        return dataclasses.replace(
            placeholder,
            id=_item_id(placeholder, item),
            name=f"{placeholder.name}/{item}",
            item=item,
            each=None,
            parents=frozenset(parents),
            takes=tuple(
                f"{name}/{item}" if (placeholder.each, name) in self.given else name for name in placeholder.takes
            ),
            gives=tuple(f"{name}/{item}" for name in placeholder.gives),
            maker=_item_id(maker, item) if maker else placeholder.maker,
        )

    def consumer(self, task: Task) -> Task:
        empty = {
            name
            for parent in task.parents & self.placeholders.keys()
            if not self.ids(self.placeholders[parent])
            for name in self.placeholders[parent].gives
        }
        return dataclasses.replace(
            task,
            parents=frozenset().union(*(self.stands_for(parent) for parent in task.parents)),
            takes=tuple(name for name in task.takes if name not in empty),
        )


def _item_id(placeholder: Task, item: str) -> str:
    return task_id(placeholder.execution_id, placeholder.instance, f"{placeholder.name}/{item}")
