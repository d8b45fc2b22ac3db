# SPDX-License-Identifier: Apache-2.0
"""What people see while a migration runs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from coriolis.client.cli.live import Lines, Live, view


@dataclass
class Seen:
    tasks: list[dict[str, Any]]


def task(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "t1", "instance": "vm1", "task_type": "REPLICATE_DISKS", "status": status, **more}


def test_without_a_terminal_each_change_is_one_line():
    stream = io.StringIO()
    lines = view(stream)
    assert isinstance(lines, Lines)
    for status in ("SCHEDULED", "RUNNING", "RUNNING", "COMPLETED", "COMPLETED"):
        lines(Seen([task(status)]))
    assert stream.getvalue() == "vm1: Replicate disks RUNNING\nvm1: Replicate disks COMPLETED\n"


def test_a_failure_says_why():
    stream = io.StringIO()
    Lines(stream)(Seen([task("ERROR", exception_details="the pool is full")]))
    assert stream.getvalue() == "vm1: Replicate disks ERROR: the pool is full\n"


def test_bars_show_bytes_and_end_as_a_line():
    stream = io.StringIO()
    with Live(stream) as live:
        update = {"index": 0, "current_step": 512 << 20, "total_steps": 1 << 30, "message": "disk-0"}
        live(Seen([task("RUNNING", progress_updates=[update])]))
        (bar,) = live._bars.tasks
        assert (bar.completed, bar.total) == (512 << 20, 1 << 30)
        assert "disk-0" in bar.description
        live(Seen([task("COMPLETED", progress_updates=[update])]))
        live(Seen([task("COMPLETED", progress_updates=[update])]))
        assert not live._bars.tasks
    assert stream.getvalue().count("vm1: Replicate disks") == 1
