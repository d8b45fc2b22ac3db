# SPDX-License-Identifier: Apache-2.0
"""Where a reader of events stands: after which event, and which ids before it nobody has seen yet.

Ids of events are given out when they are written, and transactions commit in another order: an event may turn up whose
id is smaller than one that was read before. Such an id is a hole in the sequence until then (so is that of a
transaction that was rolled back, for ever). A reader remembers its holes, so that it misses nothing and gets nothing
twice, and nothing has to be held back for it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from coriolis.domain.errors import Invalid

PATTERN = r"^[0-9]{1,18}(~[0-9]{1,18}(-[0-9]{1,18})?(\.[0-9]{1,18}(-[0-9]{1,18})?){0,99})?$"
LATEST = dt.timedelta(seconds=60)  # no transaction takes longer from an event to its commit
MOST_HOLES = 100
_FORM = re.compile(PATTERN, re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """After the event ``last``, and before it only ``holes``, which grow."""

    last: int = 0
    holes: tuple[int, ...] = ()

    def __str__(self) -> str:
        """``17``, or with holes ``17~9-11.14``."""
        runs = [list(group) for _, group in groupby(enumerate(self.holes), lambda pair: pair[1] - pair[0])]
        words = [f"{run[0][1]}" if len(run) == 1 else f"{run[0][1]}-{run[-1][1]}" for run in runs]
        return f"{self.last}~{'.'.join(words)}" if words else str(self.last)

    def awaits(self, event_id: int) -> bool:
        """Whether its reader has not had this one yet."""
        return event_id > self.last or event_id in self.holes


def parse(text: str | None, field: str) -> Cursor | None:
    """None for nothing. :raises Invalid: it is neither the id of an event nor what ``str`` makes of a cursor"""
    if not text:
        return None
    if not _FORM.fullmatch(text):
        raise Invalid(f"{field} must be the id of an event, or what an answer had in since", field=field)
    last, _, rest = text.partition("~")
    holes: set[int] = set()
    for word in filter(None, rest.split(".")):
        first, _, final = word.partition("-")
        run = range(int(first), int(final or first) + 1)
        if len(run) > MOST_HOLES:
            raise Invalid(f"{field} names too many events", field=field)
        holes.update(run)
    return Cursor(last=int(last), holes=tuple(sorted(holes)[-MOST_HOLES:]))


def moved(since: Cursor, last: int, there: Mapping[int, dt.datetime], now: dt.datetime, *, oldest: int = 1) -> Cursor:
    """The cursor of who stood at ``since`` and has read up to ``last``. ``there``: the ids from ``oldest`` to ``last``
    that exist, of all events, with the times of their writing; what is missing below one that is old enough never
    comes."""
    settled = max((one for one, at in there.items() if at < now - LATEST), default=oldest - 1)
    missing = set(range(settled + 1, last)) - set(there)
    return Cursor(last=last, holes=_latest(one for one in missing if since.awaits(one)))


def _latest(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(ids)[-MOST_HOLES:])
