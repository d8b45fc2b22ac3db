# SPDX-License-Identifier: Apache-2.0
"""The rounds of a disk: what each of them moved, and what that tells about the next ones."""

from __future__ import annotations

import dataclasses
import datetime as dt

from coriolis import dataplane
from coriolis.domain import convergence
from coriolis.domain.model import Json
from coriolis.worker.job import Job

KEPT = 50  # rounds; a transfer may have thousands
_BEFORE = ("digest@prev", "digest@replica")


def stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def of_disk(job: Job, name: str) -> Json:
    """What the copy of this task's disk reported; the input is of that disk, or of all of them. None: there is none"""
    given = job.assign.inputs.get(name)
    if given is None or "digest" in given:
        return given
    return given.get(job.item)


def earlier(job: Job) -> list[Json]:
    """The rounds before this one, oldest first."""
    for name in _BEFORE:
        known = of_disk(job, name)
        if known is not None:
            return list(known.get("rounds") or ())
    return []


def line(done: dataplane.CopyResult, started: dt.datetime, finished: dt.datetime, snapshot: str | None) -> Json:
    """A round as it stands in the history."""
    return {
        "number": done.round,
        "mode": done.mode,
        "started_at": stamp(started),
        "finished_at": stamp(finished),
        "milliseconds": round(done.seconds * 1000),
        "bytes_read": done.bytes_read,
        "bytes_written": done.bytes_written,
        "source_snapshot": snapshot,
        "digest": done.digest,
    }


def with_line(rounds: list[Json], new: Json) -> list[Json]:
    """An attempt that found its round done says less of it than the one that did it."""
    if new["mode"] == "done" and rounds and rounds[-1]["number"] == new["number"]:
        return rounds
    return [*(one for one in rounds if one["number"] != new["number"]), new][-KEPT:]


def forecast(rounds: list[Json], size: int, remaining: int) -> convergence.Forecast:
    past = [
        convergence.Past(
            started=dt.datetime.fromisoformat(one["started_at"]).timestamp(),
            seconds=one["milliseconds"] / 1000,
            read=one["bytes_read"],
            changed=one["bytes_written"],
            whole=one["mode"] != "dirty",
        )
        for one in rounds
    ]
    return convergence.forecast(past, size, remaining)


def to_json(found: convergence.Forecast) -> Json:
    """In whole bytes and milliseconds."""
    values = dataclasses.asdict(found)
    seconds = {name: values.pop(f"{name}_seconds") for name in ("next", "final")}
    return {
        "churn_bytes_per_second": _whole(values["churn"]),
        "rate_bytes_per_second": _whole(values["rate"]),
        "next_bytes": values["next_bytes"],
        **{f"{name}_milliseconds": _whole(value, 1000) for name, value in seconds.items()},
        "converges": values["converges"],
    }


def _whole(value: float | None, times: int = 1) -> int | None:
    return None if value is None else round(value * times)
