# SPDX-License-Identifier: Apache-2.0
"""What tests need that interrupt a job at a chosen moment: to see what runs just now, and to find its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coriolis.client import Proxy

ENDED = ("COMPLETED", "CANCELED", "ERROR")
MIB = 1 << 20
Task = dict[str, Any]


def await_stage(client: Proxy, migration_id: str, there: Callable[[Task], bool]) -> bool:
    """Look until such a task runs (True) or the migration has ended."""
    while True:
        migration = client.get_migration(migration_id)
        if any(task["status"] == "RUNNING" and there(task) for task in migration.tasks):
            return True
        if migration.status in ENDED:
            return False


def await_copied(client: Proxy, migration_id: str, size: int) -> dict[str, int]:
    """Look until the running copies have done this many bytes, or the migration has ended: what they have done."""
    while True:
        before = last_seen(client, migration_id)
        if sum(before.values()) >= size or client.get_migration(migration_id).status in ENDED:
            return before
        time.sleep(0.05)


def last_seen(client: Proxy, migration_id: str) -> dict[str, int]:
    """Bytes that each running copy has done, by disk; nothing while the service is away."""
    with contextlib.suppress(Exception):
        return {
            update["message"].partition(":")[0]: update["current_step"]
            for task in client.get_migration(migration_id).tasks
            if task["task_type"] == "REPLICATE_DISKS" and task["status"] == "RUNNING"
            for update in task["progress_updates"]
        }
    return {}


def attempts(worker: int) -> list[int]:
    """Process ids of a worker's running attempts: the children of its fork servers."""
    return [child for server in children_of(worker) for child in children_of(server)]


def kill_attempts(worker: int) -> int:
    """``kill -9`` of all attempts that run now, each with all that it has started; gives their number."""
    found = attempts(worker)
    for pid in {each for top in found for each in tree(top)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def tree(pid: int) -> list[int]:
    return [pid, *(each for child in children_of(pid) for each in tree(child))]


def children_of(pid: int) -> list[int]:
    """Direct children of a process, all threads' (``/proc/PID/task/TID/children``)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found
