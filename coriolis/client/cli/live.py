# SPDX-License-Identifier: Apache-2.0
"""A migration's progress on a terminal: a bar per disk and a line per task; plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

BYTES = frozenset({"REPLICATE_DISKS", "VERIFY_DISKS"})
HIDDEN = frozenset({"SCHEDULED", "UNSCHEDULED", "PENDING"})
MARK = {"COMPLETED": "[green]✓[/]", "ERROR": "[red]✗[/]", "CANCELED": "[yellow]-[/]"}
WORDS_WIDTH = 76  # of a bar's line without its bar: label, bytes, rate, time left
MIB = 1 << 20


def view(stream: TextIO | None = None) -> Live | Lines:
    """The view that fits the stream (standard error, so that standard output stays for machines)."""
    stream = stream or sys.stderr
    return Live(stream) if stream.isatty() else Lines(stream)


def label(task: dict[str, Any]) -> str:
    """The machine, the step, and the disk where the step is for one: ``web1: Replicate disk sda``."""
    words = task["task_type"].replace("_", " ").capitalize()
    item = task.get("item")
    return f"{task['instance']}: {words.removesuffix('s')} {item}" if item else f"{task['instance']}: {words}"


def amount(size: float) -> str:
    """Bytes for people, always in the same unit as a disk of that size: ``512 MiB``, ``1.5 GiB``."""
    return f"{size / 1024 / MIB:.1f} GiB" if size >= 1024 * MIB else f"{size / MIB:.0f} MiB"


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


class _Bar(BarColumn):
    """A bar where the end is known; nothing for steps that cannot tell."""

    def render(self, task: Task) -> Any:
        return super().render(task) if task.total else Text("")


class _Figures(ProgressColumn):
    """Bytes done, rate and time left of a disk; the words of any other step."""

    def render(self, task: Task) -> Text:
        if not task.total or not task.fields["bytes"]:
            return Text(task.fields["message"], style="dim", overflow="ellipsis")
        done, total = (amount(task.completed), amount(task.total))
        speed = task.finished_speed or task.speed
        rate = f"{decimal(int(speed))}/s" if speed else "-"
        return Text(f"{done:>8} of {total:<8} {rate:>11}  {_left(task.time_remaining)}")


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


class Live:
    """Bars with bytes, rate and time left for disks; a spinner for everything else that runs."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            _Bar(bar_width=max(6, min(24, self._console.width - WORDS_WIDTH))),
            _Figures(),
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
        """One line for the task, which turns into one per item when it reports several."""
        updates = task.get("progress_updates") or [{}]
        for number, update in enumerate(updates):
            key = (task["id"], str(update.get("index", number)))
            total = update.get("total_steps") or None
            if key not in self._ids:
                self._ids[key] = self._bars.add_task("", total=total, bytes=False, message="")
            self._bars.update(
                self._ids[key],
                description=escape(label(task)),
                total=total,
                completed=update.get("current_step") or 0,
                bytes=task["task_type"] in BYTES,
                message=update.get("message") or "",
            )

    def _ended(self, task: dict[str, Any]) -> None:
        self._final.add(task["id"])
        for key in [k for k in self._ids if k[0] == task["id"]]:
            self._bars.remove_task(self._ids.pop(key))
        why = f": {task['exception_details']}" if task.get("exception_details") else ""
        self._console.print(f"{MARK.get(task['status'], ' ')} {escape(label(task) + why)}", highlight=False)
