# SPDX-License-Identifier: Apache-2.0
"""A migration's progress on a terminal: a bar per disk and a line per task; plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

BYTES = frozenset({"REPLICATE_DISKS", "VERIFY_DISKS"})
HIDDEN = frozenset({"SCHEDULED", "UNSCHEDULED", "PENDING"})
MARK = {"COMPLETED": "[green]✓[/]", "ERROR": "[red]✗[/]", "CANCELED": "[yellow]-[/]"}


def view(stream: TextIO | None = None) -> Live | Lines:
    """The view that fits the stream (standard error, so that standard output stays for machines)."""
    stream = stream or sys.stderr
    return Live(stream) if stream.isatty() else Lines(stream)


def label(task: dict[str, Any]) -> str:
    words = task["task_type"].replace("_", " ").capitalize()
    return f"{task['instance']}: {words}"


class Lines:
    """One line per change of a task's state."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._states: dict[str, str] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def __call__(self, migration: Any) -> None:
        for task in migration.tasks or ():
            if task["status"] in HIDDEN or self._states.get(task["id"]) == task["status"]:
                continue
            self._states[task["id"]] = task["status"]
            why = f": {task['exception_details']}" if task.get("exception_details") else ""
            self._stream.write(f"{label(task)} {task['status']}{why}\n")
        self._stream.flush()


class Live:
    """Bars with bytes, rate and time left for disks; a spinner for everything else that runs."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._ids: dict[tuple[str, str], TaskID] = {}
        self._final: set[str] = set()

    def __enter__(self) -> Live:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, migration: Any) -> None:
        for task in migration.tasks or ():
            if task["status"] in HIDDEN or task["id"] in self._final:
                continue
            if task["status"] == "RUNNING":
                self._running(task)
            else:
                self._ended(task)

    def _running(self, task: dict[str, Any]) -> None:
        updates = task.get("progress_updates") or [{}]
        for number, update in enumerate(updates):
            key = (task["id"], str(update.get("index", number)))
            total = update.get("total_steps") or None
            if key not in self._ids:
                self._ids[key] = self._bars.add_task("", total=total)
            text = update.get("message") or ""
            self._bars.update(
                self._ids[key],
                description=f"{label(task)} [dim]{text}[/]",
                total=total,
                completed=update.get("current_step") or 0,
            )

    def _ended(self, task: dict[str, Any]) -> None:
        self._final.add(task["id"])
        for key in [k for k in self._ids if k[0] == task["id"]]:
            self._bars.remove_task(self._ids.pop(key))
        why = f": {task['exception_details']}" if task.get("exception_details") else ""
        self._console.print(f"{MARK.get(task['status'], ' ')} {label(task)}{why}", highlight=False)
