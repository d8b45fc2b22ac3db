# SPDX-License-Identifier: Apache-2.0
"""When the demo may call itself good, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest

from demo import outcome

DISK = {
    "disk_id": "d0",
    "size_bytes": 512,
    "source_digest": "aa",
    "target_digest": "aa",
    "bytes_read": 1 << 20,
    "bytes_skipped": 0,
    "bytes_written": 1 << 20,
}


def migration(**disk: Any) -> dict[str, Any]:
    result = {"guest": {"name": "guest", "integrity": {"disks": [{**DISK, **disk}]}}}
    return {"id": "m", "status": "COMPLETED", "transfer_result": result, "tasks": []}


def report(answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    rest = {"booted": True, "domain": "guest", "guest": None, "seconds": 3, "phases": {}}
    return outcome.of_migration(answer) | rest | more


def test_a_good_one() -> None:
    good = report(migration())
    assert outcome.is_good(good)
    assert good["disks"][0]["source_digest"] == good["disks"][0]["target_digest"] == "aa"


@pytest.mark.parametrize(
    "bad",
    [
        report(migration(target_digest="bb")),
        report(migration(target_digest=None)),
        report(migration(source_digest=None, target_digest=None)),
        report(migration(), booted=False),
        report(migration() | {"status": "ERROR"}),
        report(migration() | {"transfer_result": None}),
        report(migration() | {"transfer_result": {"guest": {"name": "guest"}}}),
    ],
)
def test_anything_less_is_not_good(bad: dict[str, Any]) -> None:
    assert not outcome.is_good(bad)


def test_says_what_went_wrong() -> None:
    failed = migration() | {
        "status": "ERROR",
        "tasks": [{"exception_details": "no space"}, {"exception_details": None}],
    }
    told = report(failed, booted=False, guest="silent", phases=dict.fromkeys(("migration", "boot", "all"), 1.0))
    lines = outcome.lines(told)
    assert ("error", "no space") in lines
    assert ("guest", "silent") in lines
    assert ("disk d0", "read 1.0 MiB, skipped 0.0 MiB, written 1.0 MiB") in lines
