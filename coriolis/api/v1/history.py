# SPDX-License-Identifier: Apache-2.0
"""What happened in an execution: a page of it, what comes next (a long poll), or all as it comes (a stream).

Ids of events grow in the order in which they are written, and two transactions that write at the same time may commit
in the other order. So what is new is read again a moment later, and only then given out: a client that goes on after
the last id it got misses nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from coriolis.api.answers import EVENT_STREAM, Stream
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.views import events as view
from coriolis.api.views.executions import status_of
from coriolis.api.watch import Seat
from coriolis.domain.errors import Invalid
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import events as queries
from coriolis.store.paging import Page
from coriolis.store.pulses import Pulse
from coriolis.store.rows import Execution

Json = Any

PRODUCES = ("application/json", EVENT_STREAM)
QUERY = ("marker", "limit", "sort_key", "sort_dir", "since", "timeout")

_SETTLED_SECONDS = 0.25
_LONGEST_POLL_SECONDS = 60.0
_DEFAULT_POLL_SECONDS = 30.0
_HEARTBEAT_SECONDS = 15.0
_STREAM_SECONDS = 900.0  # then the client comes again, and its token is looked at again
_RECONNECT_MILLISECONDS = 2000
_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


def answer(request: ApiRequest, services: Services, run: Execution) -> Json:
    """The events of ``run`` in the way that the caller asks for. :raises Busy: too many wait already"""
    if request.media_type == EVENT_STREAM:
        begin = _event_id(request.last_event_id, "Last-Event-ID") or request.query.number("since") or 0
        seat = services.watch.follow(run.id)
        return Stream(chunks=_Chunks(_stream(services, run, begin, seat), seat), content_type=EVENT_STREAM)
    since = request.query.number("since")
    if since is not None:
        return _poll(request, services, run, since)
    wanted = page(request.query, first="asc", most=services.settings.max_limit)
    return {"events": _read(services, run.id, wanted)}


def _event_id(text: str | None, field: str) -> int | None:
    if not text:
        return None
    if not _EVENT_ID.fullmatch(text):
        raise Invalid(f"{field} must be the id of an event", field=field)
    return int(text)


def _read(services: Services, execution_id: str, wanted: Page) -> list[Json]:
    with services.db.reader() as conn:
        rows = queries.page(conn, execution_id, wanted)
        first = queries.count_before(conn, execution_id, rows[0].id) if rows else 0
    return view.events(rows, first)


def _newer(services: Services, execution_id: str, since: int, limit: int) -> list[Json]:
    """The next events after ``since``, settled."""
    with services.db.reader() as conn:
        seen = queries.after(conn, execution_id, since, limit)
    if not seen:
        return []
    services.watch.pause(_SETTLED_SECONDS)
    with services.db.reader() as conn:
        rows = [row for row in queries.after(conn, execution_id, since, limit) if row.id <= seen[-1].id]
        first = queries.count_before(conn, execution_id, rows[0].id)
    return view.events(rows, first)


# ---- long poll -------------------------------------------------------------------------------------------------


def _poll(request: ApiRequest, services: Services, run: Execution, since: int) -> Json:
    """At once when there is something newer, or the execution is over; otherwise when there is, or the time is up."""
    limit = min(request.query.number("limit") or services.settings.max_limit, services.settings.max_limit)
    seconds = min(request.query.seconds("timeout", _DEFAULT_POLL_SECONDS), _LONGEST_POLL_SECONDS)
    found = _newer(services, run.id, since, limit)
    status = run.state
    if not found and seconds > 0 and run.state not in FINAL_EXECUTION_STATES:
        with services.watch.follow(run.id) as seat:
            status = _wait_for_more(seat, since, seconds) or status
        found = _newer(services, run.id, since, limit)
    last = found[-1]["id"] if found else str(since)
    return {"events": found, "since": last, "status": status_of(run.type, status)}


def _wait_for_more(seat: Seat, since: int, seconds: float) -> str | None:
    """The state of the execution when something happened; None: nothing did."""
    end = time.monotonic() + seconds
    seen: Pulse | None = None
    while True:
        changed, pulse = seat.wait(seen, end - time.monotonic())
        if not changed:
            return seen.state if seen else None
        if pulse is None:
            return None
        if pulse.newest > since or pulse.is_over:
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


def _stream(services: Services, run: Execution, since: int, seat: Seat) -> Iterator[bytes]:
    """``event``: one line of the history, with its id. ``status``: how far it is, when that has changed. ``end``: it is
    over, nothing will follow."""
    end = time.monotonic() + _STREAM_SECONDS
    seen: Pulse | None = None
    try:
        yield f"retry: {_RECONNECT_MILLISECONDS}\n\n".encode("ascii")
        while time.monotonic() < end and not services.watch.is_closed:
            changed, pulse = seat.wait(seen, _HEARTBEAT_SECONDS)
            if not changed:
                yield b": still there\n\n"
                continue
            if pulse is None:
                return
            while pulse.newest > since and (found := _newer(services, run.id, since, services.settings.max_limit)):
                since = int(found[-1]["id"])
                yield b"".join(_message("event", one, one["id"]) for one in found)
            status = _status(run, pulse)
            if seen is None or status != _status(run, seen):
                yield _message("status", status)
            if pulse.is_over:
                yield _message("end", {"status": pulse.state})
                return
            seen = pulse
    finally:
        seat.close()


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
