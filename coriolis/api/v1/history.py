# SPDX-License-Identifier: Apache-2.0
"""What happened in an execution: a page of it, what comes next (a long poll), or all as it comes (a stream).

A client that goes on where it was misses nothing and gets nothing twice, in whatever order transactions commit
(``api.cursor``).
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from typing import Any

from coriolis.api import cursor as cursors
from coriolis.api.answers import EVENT_STREAM, Stream
from coriolis.api.cursor import Cursor
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.views import events as view
from coriolis.api.views.executions import status_of
from coriolis.api.watch import Seat
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import events as queries
from coriolis.store.paging import Page
from coriolis.store.pulses import Pulse
from coriolis.store.rows import Event, Execution

Json = Any

PRODUCES = ("application/json", EVENT_STREAM)
QUERY = ("marker", "limit", "sort_key", "sort_dir", "since", "timeout")

_SETTLED_SECONDS = 0.25  # events come in order when those before them are as quick
_LATE_SECONDS = 1.0  # between two looks for an event that may come late
_LOOKED_BACK = 1000  # ids among which holes are looked for
_LONGEST_POLL_SECONDS = 60.0
_DEFAULT_POLL_SECONDS = 30.0
_HEARTBEAT_SECONDS = 15.0
_STREAM_SECONDS = 900.0  # then the client comes again, and its token is looked at again
_RECONNECT_MILLISECONDS = 2000


def answer(request: ApiRequest, services: Services, run: Execution) -> Json:
    """The events of ``run`` in the way that the caller asks for. :raises Busy: too many wait already"""
    since = cursors.parse(request.query.one("since"), "since")
    if request.media_type == EVENT_STREAM:
        begin = cursors.parse(request.last_event_id, "Last-Event-ID") or since or Cursor()
        seat = services.watch.follow(run.id)
        chunks = _stream(services, run, begin, seat, _stream_seconds(request))
        return Stream(chunks=_Chunks(chunks, seat), content_type=EVENT_STREAM)
    if since is not None:
        return _poll(request, services, run, since)
    wanted = page(request.query, first="asc", most=services.settings.max_limit)
    return {"events": _read(services, run.id, wanted)}


def _stream_seconds(request: ApiRequest) -> float:
    """A stream ends with the caller's token."""
    ends_at = request.context.token_ends_at
    left = _STREAM_SECONDS if ends_at is None else (ends_at - dt.datetime.now(dt.UTC)).total_seconds()
    return max(0.0, min(left, _STREAM_SECONDS))


def _read(services: Services, execution_id: str, wanted: Page) -> list[Json]:
    with services.db.reader() as conn:
        rows = queries.page(conn, execution_id, wanted)
        first = queries.count_before(conn, execution_id, rows[0].id) if rows else 0
    return view.events(rows, first)


def _newer(
    services: Services, run: Execution, since: Cursor, limit: int, *, over: bool = False
) -> tuple[list[Json], Cursor]:
    """The next events, oldest first, and where the reader is then. ``over``: nobody will look again."""
    found, after = _look(services, run, since, limit)
    if after.holes and (found or over):
        services.watch.pause(_SETTLED_SECONDS)
        return _look(services, run, since, limit)
    return found, after


def _look(services: Services, run: Execution, since: Cursor, limit: int) -> tuple[list[Json], Cursor]:
    with services.db.reader() as conn:
        late = queries.among(conn, run.id, since.holes) if since.holes else []
        rows = queries.after(conn, run.id, since.last, limit)
        if not rows and not since.holes:
            return [], since
        last = rows[-1].id if rows else since.last
        oldest = max(1, last - _LOOKED_BACK + 1)
        told = {row.id for row in (*late, *rows)}
        there = {
            key: one.at
            for key, one in queries.written(conn, oldest, last).items()
            # Each statement sees more than the one before: ours that were committed meanwhile are told the next time.
            if one.execution_id != run.id or key in told or not since.awaits(key)
        }
        after = cursors.moved(since, last, there, services.db.utcnow(), oldest=oldest)

        def place(row: Event) -> int:
            return queries.count_before(conn, run.id, row.id)

        found = [view.event(row, place(row)) for row in late]
        return found + (view.events(rows, place(rows[0])) if rows else []), after


# ---- long poll -------------------------------------------------------------------------------------------------


def _poll(request: ApiRequest, services: Services, run: Execution, since: Cursor) -> Json:
    """At once when there is something newer, or the execution is over; otherwise when there is, or the time is up."""
    limit = min(request.query.number("limit") or services.settings.max_limit, services.settings.max_limit)
    seconds = min(request.query.seconds("timeout", _DEFAULT_POLL_SECONDS), _LONGEST_POLL_SECONDS)
    found, since = _newer(services, run, since, limit, over=run.state in FINAL_EXECUTION_STATES)
    status = run.state
    if not found and seconds > 0 and run.state not in FINAL_EXECUTION_STATES:
        end = time.monotonic() + seconds
        with services.watch.follow(run.id) as seat:
            while not found and (state := _wait_for_more(seat, since, end)) is not None:
                status = state
                found, since = _newer(services, run, since, limit, over=status in FINAL_EXECUTION_STATES)
                if status in FINAL_EXECUTION_STATES:
                    break
    return {"events": found, "since": str(since), "status": status_of(run.type, status)}


def _wait_for_more(seat: Seat, since: Cursor, end: float) -> str | None:
    """The state of the execution when there may be something; None: the time is up, or the execution is gone."""
    seen: Pulse | None = None
    while True:
        left = end - time.monotonic()
        changed, pulse = seat.wait(seen, min(left, _LATE_SECONDS) if since.holes else left)
        if not changed:
            return seen.state if seen and since.holes and left > _LATE_SECONDS else None
        if pulse is None:
            return None
        if pulse.newest > since.last or pulse.is_over:
            return pulse.state
        seen = pulse


# ---- server-sent events ----------------------------------------------------------------------------------------


class _Chunks:
    """Gives the seat back also when nobody ever asks for the first chunk."""

    def __init__(self, chunks: Iterator[bytes], seat: Seat) -> None:
        self._chunks = chunks
        self._seat = seat

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._seat.close()


def _stream(services: Services, run: Execution, since: Cursor, seat: Seat, seconds: float) -> Iterator[bytes]:
    """``event``: one line of the history, with where a client goes on after it. ``status``: how far it is, when that
    has changed. ``end``: it is over, nothing will follow."""
    end = time.monotonic() + seconds
    seen: Pulse | None = None
    try:
        yield f"retry: {_RECONNECT_MILLISECONDS}\n\n".encode("ascii")
        while (left := end - time.monotonic()) > 0 and not services.watch.is_closed:
            patience = _LATE_SECONDS if since.holes else _HEARTBEAT_SECONDS
            changed, pulse = seat.wait(seen, min(patience, left))
            if changed and pulse is None:
                return
            if not changed:
                yield b": still there\n\n"
                pulse = seen
            if pulse is None:
                continue
            while since.holes or pulse.newest > since.last:
                found, after = _newer(services, run, since, services.settings.max_limit, over=pulse.is_over)
                if found:
                    yield b"".join(_told(found, since, after))
                since = after
                if not found:
                    break
            if changed and (seen is None or _status(run, pulse) != _status(run, seen)):
                yield _message("status", _status(run, pulse))
            if pulse.is_over:
                yield _message("end", {"status": pulse.state})
                return
            seen = pulse
    finally:
        seat.close()


def _told(found: list[Json], since: Cursor, after: Cursor) -> Iterator[bytes]:
    """Each with the cursor of a reader who has got no more than up to it."""
    to_come = [int(one["id"]) for one in found]
    for one in found:
        key = to_come.pop(0)
        last = max(since.last, key)
        holes = sorted(hole for hole in {*after.holes, *to_come} if hole < last)
        yield _message("event", one, str(Cursor(last=last, holes=tuple(holes))))


def _status(run: Execution, pulse: Pulse) -> dict[str, Json]:
    return {
        "status": status_of(run.type, pulse.state),
        "message": pulse.message,
        "percent": pulse.percent,
        "bytes_done": pulse.bytes_done,
        "bytes_total": pulse.bytes_total,
    }


def _message(kind: str, data: Json, key: str | None = None) -> bytes:
    """JSON has no line ends, so that one line of data is enough."""
    named = f"id: {key}\n" if key is not None else ""
    return f"{named}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
