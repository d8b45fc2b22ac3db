# SPDX-License-Identifier: Apache-2.0
"""When a schedule fires: exact fields, all of which must fit, in UTC. Each is an integer, or None for any.

Not the rule of cron, where a day fits by its date or by its weekday: here it has to fit by both.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)
# 29 February on one weekday comes at least once in so many years, also across a century without a leap day.
_YEARS = 41

# field -> (smallest, largest); dow 0 is Monday
RANGES: dict[str, tuple[int, int]] = {
    "minute": (0, 59),
    "hour": (0, 23),
    "dom": (1, 31),
    "month": (1, 12),
    "dow": (0, 6),
}


@dataclass(frozen=True, kw_only=True)
class Calendar:
    minute: int | None = None
    hour: int | None = None
    dom: int | None = None
    month: int | None = None
    dow: int | None = None

    def fits_day(self, day: dt.date) -> bool:
        return self.month in (None, day.month) and self.dom in (None, day.day) and self.dow in (None, day.weekday())

    def fits(self, moment: dt.datetime) -> bool:
        """Whether it fires in the minute of this moment (naive UTC)."""
        return (
            self.fits_day(moment.date()) and self.hour in (None, moment.hour) and self.minute in (None, moment.minute)
        )


def next_fire(calendar: Calendar, after: dt.datetime) -> dt.datetime | None:
    """The first minute that fits and begins after ``after`` (both naive UTC); None: there is none, ever."""
    try:
        start = after.replace(second=0, microsecond=0) + MINUTE
        day = _next_day(calendar, start.date())
        if day == start.date():
            moment = _next_time(calendar, start)
            if moment is not None:
                return moment
            day = _next_day(calendar, start.date() + DAY)
    except OverflowError:  # the year 10,000
        return None
    return None if day is None else dt.datetime.combine(day, dt.time(calendar.hour or 0, calendar.minute or 0))


def _next_day(calendar: Calendar, first: dt.date) -> dt.date | None:
    day = first
    while day.year <= first.year + _YEARS:
        if calendar.fits_day(day):
            return day
        if calendar.month in (None, day.month):
            day += DAY
        else:
            day = (day.replace(day=28) + 4 * DAY).replace(day=1)
    return None


def _next_time(calendar: Calendar, start: dt.datetime) -> dt.datetime | None:
    """The first minute from ``start`` on that fits, on the day of ``start``."""
    for hour in range(start.hour, 24) if calendar.hour is None else (calendar.hour,):
        first = start.minute if hour == start.hour else 0
        minute = calendar.minute if calendar.minute is not None else first
        if hour >= start.hour and minute >= first:
            return start.replace(hour=hour, minute=minute)
    return None
