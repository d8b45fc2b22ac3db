# SPDX-License-Identifier: Apache-2.0
"""Values that are structures: whole for machines, lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cliff.columns import FormattableColumn

from coriolis.client.cli import live


class JsonColumn(FormattableColumn[Any]):
    """``key='value'`` lines, or a line per item."""

    def human_readable(self) -> str:
        value = self._value
        if isinstance(value, dict):
            return "\n".join(f"{key}={item!r}" for key, item in value.items())
        if isinstance(value, (list, tuple)):
            return "\n".join(str(item) for item in value)
        return "" if value is None else str(value)


class InlineColumn(JsonColumn):
    """A list in one line, for tables."""

    def human_readable(self) -> str:
        return ", ".join(str(item) for item in self._value or ())


class ResultColumn(JsonColumn):
    """What came of each machine: a line each for the new machine, its disks and how to look at it."""

    def human_readable(self) -> str:
        return "\n".join(line for name, result in (self._value or {}).items() for line in _result(name, result))


def _result(name: str, result: dict[str, Any]) -> list[str]:
    lines = [f"{name} is now {result.get('instance_name') or name} ({result.get('id')})"]
    lines += [f"  console: {result['console']}"] if result.get("console") else []
    return lines + [f"  {line}" for disk in (result.get("integrity") or {}).get("disks", ()) for line in _disk(disk)]


def _disk(disk: dict[str, Any]) -> list[str]:
    """One digest where both sides have the same; two, one below the other, where an eye should see a difference."""
    read, written = (live.amount(disk.get(f"bytes_{done}") or 0) for done in ("read", "written"))
    size = live.amount(disk.get("size_bytes") or 0)
    source, target = disk.get("source_digest"), disk.get("target_digest")
    first = f"disk {disk.get('disk_id')}: {size}; last round {read} read, {written} written"
    if source and source == target:
        return [first, f"  verified ({disk.get('verification')}): source and target {source[:16]}…"]
    return [first, f"  verification: {disk.get('verification')}", f"  source {source}", f"  target {target}"]


class ConcernColumn(JsonColumn):
    """What speaks against a plan; a line each, what blocks it first."""

    def human_readable(self) -> str:
        ordered = sorted(self._value, key=lambda one: not one["blocking"])
        return "\n".join(
            f"{'BLOCKS' if one['blocking'] else 'warning'} {_place(one)}{one['message']}" for one in ordered
        )


def _place(concern: dict[str, Any]) -> str:
    return f"{concern['instance']}: " if concern.get("instance") else ""


class WaysColumn(JsonColumn):
    """Where the disks or networks of each machine go."""

    def __init__(self, value: Any, name: str) -> None:
        super().__init__(value)
        self._name = name

    def human_readable(self) -> str:
        return "\n".join(
            f"{instance} {way[self._name]}: {_size(way)}{way['source'] or '?'} -> {way['destination'] or '?'}"
            for instance, ways in self._value.items()
            for way in ways
        )


def _size(way: dict[str, Any]) -> str:
    return f"{live.amount(way['size_bytes'])}, " if "size_bytes" in way else ""


class AmountColumn(JsonColumn):
    """Bytes."""

    def human_readable(self) -> str:
        return live.amount(self._value)


class StepsColumn(JsonColumn):
    """The steps of each machine, in order."""

    def human_readable(self) -> str:
        return "\n".join(f"{instance}: {', '.join(steps)}" for instance, steps in self._value.items())


class TaskColumn(JsonColumn):
    """The tasks that are needed, in order."""

    def human_readable(self) -> str:
        return "\n".join(_line(task) for task in self._value)


class CountColumn(JsonColumn):
    """For people who have just seen the tasks: how many came to which end."""

    def human_readable(self) -> str:
        counts = Counter(task["status"] for task in self._value)
        return ", ".join(f"{number} {status}" for status, number in counts.items())


def _line(task: dict[str, Any]) -> str:
    text = f"{task['status']:<10} {live.label(task)}"
    return " ".join([text, *_figures(task)]) + (
        f": {task['exception_details']}" if task.get("exception_details") else ""
    )


def _figures(task: dict[str, Any]) -> list[str]:
    """How far the items of a task are, where it is not over."""
    shown = live.amount if task["task_type"] in live.BYTES else str
    updates = [u for u in task.get("progress_updates") or () if u.get("total_steps")]
    return (
        []
        if task["status"] == "COMPLETED"
        else [f"{shown(u['current_step'])}/{shown(u['total_steps'])}" for u in updates]
    )


_KINDS = {"transfer_result": ResultColumn, "tasks": TaskColumn}


def details(thing: Any, names: Sequence[str], *, seen: bool = False) -> tuple[tuple[str, ...], list[Any]]:
    """What ``show`` commands give: the names and the values, each in its form.

    :param seen: the tasks have just been shown
    """
    values = []
    for name in names:
        value = getattr(thing, name)
        if name == "tasks":
            value = [task for task in value or () if task["status"] != "UNSCHEDULED"]
        if isinstance(value, (dict, list)) or name in _KINDS:
            value = CountColumn(value) if seen and name == "tasks" else _KINDS.get(name, JsonColumn)(value)
        values.append(value)
    return tuple(names), values
