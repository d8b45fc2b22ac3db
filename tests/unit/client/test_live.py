# SPDX-License-Identifier: Apache-2.0
"""What people see while a migration runs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from coriolis.client.cli.columns import AmountColumn, ConcernColumn, CountColumn, ResultColumn, StepsColumn, WaysColumn
from coriolis.client.cli.live import Lines, Live, ended, view


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


def figures(live: Live) -> str:
    """What people read on the first bar's line."""
    row = live._bars.make_tasks_table(live._bars.tasks)
    console = Console(file=io.StringIO(), width=120)
    console.print(row)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_bar_names_its_disk_and_shows_its_bytes_and_ends_as_a_line():
    stream = io.StringIO()
    with Live(stream) as live:
        update = {"index": 0, "current_step": 512 << 20, "total_steps": 1 << 30, "message": "sda: 9.0 MB/s"}
        live(Seen([task("RUNNING", item="sda", progress_updates=[update])]))
        (bar,) = live._bars.tasks
        assert (bar.completed, bar.total) == (512 << 20, 1 << 30)
        line = figures(live)
        assert "vm1: Replicate disk sda" in line
        assert "512 MiB of 1.0 GiB" in line
        assert "9.0 MB/s" not in line, "the rate is the bar's own, once"
        live(Seen([task("COMPLETED", item="sda", progress_updates=[update])]))
        live(Seen([task("COMPLETED", item="sda", progress_updates=[update])]))
        assert not live._bars.tasks
    assert stream.getvalue().count("vm1: Replicate disk sda") == 1


def test_a_step_without_figures_has_words_only():
    with Live(io.StringIO()) as live:
        live(Seen([task("RUNNING", task_type="DEPLOY_INSTANCE_RESOURCES", instance="[b]vm1")]))
        line = figures(live)
        assert "[b]vm1: Deploy instance resources" in line, "names are no markup"
        assert "bytes" not in line
        assert "━" not in line
        update = {"index": 0, "current_step": 1, "total_steps": 2, "message": "Snapshot of sda"}
        live(Seen([task("RUNNING", task_type="DEPLOY_INSTANCE_RESOURCES", progress_updates=[update])]))
        assert "Snapshot of sda" in figures(live)
        assert "MiB" not in figures(live)


def test_a_result_is_lines_for_people_and_whole_for_machines():
    disk = {"disk_id": "sda", "size_bytes": 1 << 30, "source_digest": "aa", "target_digest": "bb"}
    disk |= {"verification": "full", "bytes_read": 3 << 20, "bytes_written": 2 << 20}
    result = {
        "vm1": {
            "id": "u1",
            "name": "new",
            "instance_name": "new",
            "console": "virsh console new",
            "integrity": {"disks": [disk]},
        }
    }
    column = ResultColumn(result)
    assert column.machine_readable() == result
    assert column.human_readable().splitlines() == [
        "vm1 is now new (u1)",
        "  console: virsh console new",
        "  disk sda: 1.0 GiB; last round 3 MiB read, 2 MiB written",
        "    verification: full",
        "    source aa",
        "    target bb",
    ]
    assert ResultColumn(None).human_readable() == ""
    same = {**disk, "source_digest": "c" * 64, "target_digest": "c" * 64}
    result["vm1"]["integrity"]["disks"] = [same]
    assert column.human_readable().splitlines()[-1] == f"    verified (full): source and target {'c' * 16}…"


def test_a_copy_that_is_over_says_what_it_moved_and_how_long_it_took():
    update = {"index": 0, "current_step": 3 << 30, "total_steps": 3 << 30}
    times = {"started_at": "2026-11-21T04:21:52.342497", "finished_at": "2026-11-21T04:24:00.711488"}
    done = task("COMPLETED", item="sda", name="copy.1/sda", progress_updates=[update], **times)
    assert ended(done) == "vm1: Replicate disk sda: 3.0 GiB in 2:08"
    assert ended({**done, "name": "copy.2/sda", "progress_updates": []}) == "vm1: Replicate disk sda (2)"
    update["current_step"] = 1 << 30
    assert ended({**done, "status": "CANCELED"}) == "vm1: Replicate disk sda: ended at 1.0 GiB of 3.0 GiB"
    assert ended({**done, "exception_details": "full"}) == "vm1: Replicate disk sda: full"
    assert ended({**done, "task_type": "VERIFY_DISKS", "name": "verify.2/sda"}).startswith("vm1: Verify disk sda: 3.0")


def test_long_names_lose_their_middle_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "production-web-server-17.frankfurt.example.org"
    with Live(io.StringIO()) as live:
        update = {"index": 0, "current_step": 512 << 20, "total_steps": 1 << 30}
        live(Seen([task("RUNNING", instance=name, item="virtio-disk17", progress_updates=[update])]))
        console = Console(file=io.StringIO(), width=80)
        console.print(live._bars.make_tasks_table(live._bars.tasks))
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "512 MiB of 1.0 GiB" in line
    assert "disk17" in line
    assert "prod" in line


def test_after_waiting_tasks_are_counted_and_stay_whole_for_machines():
    tasks = [{"status": "COMPLETED"}, {"status": "COMPLETED"}, {"status": "CANCELED"}]
    assert CountColumn(tasks).human_readable() == "2 COMPLETED, 1 CANCELED"
    assert CountColumn(tasks).machine_readable() == tasks


def test_a_plan_puts_what_blocks_first_and_shows_where_things_go():
    concerns = [
        {"side": "source", "code": "c", "message": "slow", "blocking": False, "instance": "web"},
        {"side": "destination", "code": "c", "message": "no room", "blocking": True, "instance": None},
    ]
    assert ConcernColumn(concerns).human_readable() == "BLOCKS no room\nwarning web: slow"
    disks = {"web": [{"disk_id": "sda", "size_bytes": 3 << 30, "source": None, "destination": "fast"}]}
    assert WaysColumn(disks, "disk_id").human_readable() == "web sda: 3.0 GiB, ? -> fast"
    nics = {"web": [{"nic_id": "n", "source": "a", "destination": None}]}
    assert WaysColumn(nics, "nic_id").human_readable() == "web n: a -> ?"
    assert StepsColumn({"web": ["inspect", "plan"]}).human_readable() == "web: inspect, plan"
    assert AmountColumn(3 << 30).human_readable() == "3.0 GiB"
