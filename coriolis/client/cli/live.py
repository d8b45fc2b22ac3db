# SPDX-License-Identifier: Apache-2.0
"""A migration's progress on a terminal: a bar per disk and a line per task; plain lines elsewhere."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

BYTES = frozenset({"REPLICATE_DISKS", "VERIFY_DISKS", "CLONE_TRANSFER_DISKS"})
LAST = frozenset({"VERIFY_DISKS"})  # once, after the last round
HIDDEN = frozenset({"SCHEDULED", "UNSCHEDULED", "PENDING"})
MARK = {"COMPLETED": "[green]✓[/]", "ERROR": "[red]✗[/]", "CANCELED": "[yellow]-[/]"}
FIGURES_WIDTH = 46  # of bytes, rate and time left
BAR_WIDTH = range(5, 25)
LABEL_WIDTH = 40  # where there is room
MIB = 1 << 20
_ROUND = re.compile(r"\.(\d+)")  # in the name of a step: "copy.2/sda"


def view(stream: TextIO | None = None) -> Live | Lines:
    """The view that fits the stream (standard error, so that standard output stays for machines)."""
    stream = stream or sys.stderr
    return Live(stream) if stream.isatty() else Lines(stream)


def label(task: dict[str, Any]) -> str:
    """The machine, the step, the disk if it is for one, and a later round: ``web1: Replicate disk sda (2)``."""
    words = task["task_type"].replace("_", " ").capitalize()
    item = task.get("item")
    text = f"{task['instance']}: {words.removesuffix('s')} {item}" if item else f"{task['instance']}: {words}"
    found = _ROUND.search(task.get("name") or "")
    return f"{text} ({found[1]})" if found and int(found[1]) > 1 and task["task_type"] not in LAST else text


def shortened(text: str, width: int) -> str:
    """Without its middle where it is too long: the ends of names tell them apart."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def in_order(job: Any) -> list[dict[str, Any]]:
    """The tasks of a job or an execution, disks by their names."""
    return sorted(job.tasks or (), key=lambda task: (task.get("index") or 0, task.get("item") or ""))


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
        for task in in_order(migration):
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
        rate = f"{amount(speed)}/s" if speed else ""
        left = "" if task.time_remaining is None else f"{clock(task.time_remaining)} left"
        return Text(f"{done:>8} of {total:<8} {rate:>10}  {left}")


def clock(seconds: float) -> str:
    """``0:08``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ended(task: dict[str, Any]) -> str:
    """What is said of a task that is over: what it is, what it moved in which time, or why it failed."""
    if task.get("exception_details"):
        return f"{label(task)}: {task['exception_details']}"
    done, total = (
        sum(update.get(key) or 0 for update in task.get("progress_updates") or ())
        for key in ("current_step", "total_steps")
    )
    if task["task_type"] not in BYTES or not total:
        return label(task)
    if task["status"] != "COMPLETED":
        return f"{label(task)}: ended at {amount(done)} of {amount(total)}"
    times = [datetime.fromisoformat(task[key]) for key in ("started_at", "finished_at") if task.get(key)]
    took = f" in {clock((times[1] - times[0]).total_seconds())}" if len(times) == 2 else ""
    return f"{label(task)}: {amount(total)}{took}"


class Live:
    """Bars with bytes, rate and time left for disks; a spinner for everything else that runs."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        bar = min(max(self._console.width - LABEL_WIDTH - FIGURES_WIDTH, BAR_WIDTH.start), BAR_WIDTH.stop - 1)
        self._room = max(self._console.width - bar - FIGURES_WIDTH, 16)  # for a label
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            _Bar(bar_width=bar),
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
        # Under the lock of the thread that draws: what is printed in the midst of its drawing would leave lines behind.
        with self._bars.live._lock:
            for task in in_order(migration):
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
            words = escape(shortened(label(task), self._room if total else self._console.width - 4))
            if key not in self._ids:
                self._ids[key] = self._bars.add_task(words, total=total, bytes=False, message="")
            self._bars.update(
                self._ids[key],
                description=words,
                total=total,
                completed=update.get("current_step") or 0,
                bytes=task["task_type"] in BYTES,
                message=update.get("message") or "",
            )

    def _ended(self, task: dict[str, Any]) -> None:
        self._final.add(task["id"])
        for key in [k for k in self._ids if k[0] == task["id"]]:
            self._bars.remove_task(self._ids.pop(key))
        self._console.print(f"{MARK.get(task['status'], ' ')} {escape(ended(task))}", highlight=False)
