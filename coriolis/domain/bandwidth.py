# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets: what limits a stream now, and how running streams share what there is.

A *budget* limits the streams that its target matches, in bytes per second and in their number; windows of its time
zone replace these limits at times of the day. A *stream* is an attempt that moves disk bytes. Rates are bytes per
second; ``None`` is no limit.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60

_GREEDY = 0.8  # a stream that uses more of its share than this could use more
_HEADROOM = 1.3  # what a stream that uses less keeps for itself, over what it uses
_LEAST = 1 << 20  # ... and at least: what does not ask for more than this is never taken for idle


class Scope(enum.StrEnum):
    """What a budget is for."""

    LINK = "link"  # from the region of a source to the region of a destination
    ENDPOINT = "endpoint"
    HOST = "host"  # of a worker, or of the hypervisor that a provider names
    DATASTORE = "datastore"
    PROJECT = "project"


#: The keys of a budget's target; those in the second tuple may be left out, and then match anything.
TARGETS: dict[Scope, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Scope.LINK: ((), ("source_region", "destination_region")),
    Scope.ENDPOINT: (("endpoint_id",), ()),
    Scope.HOST: (("host",), ()),
    Scope.DATASTORE: (("storage_backend",), ("endpoint_id",)),
    Scope.PROJECT: (("project_id",), ()),
}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """``streams``: how many may move bytes at the same time."""

    bytes_per_second: int | None = None
    streams: int | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time of the day on some days (0 is Monday), from ``start`` to ``end`` in minutes since midnight. One that ends
    before it starts goes on after midnight and belongs to the day on which it starts; equal ends are the whole day."""

    days: frozenset[int] = frozenset(range(7))
    start: int = 0
    end: int = 0
    limit: Limit = Limit()

    def holds(self, weekday: int, minute: int) -> bool:
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        yesterday = (weekday - 1) % 7
        return (weekday in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """``backoff``: a stream slows down when reading takes so many times as long as it used to; None: it does not."""

    id: str
    scope: Scope
    target: Mapping[str, str]
    limit: Limit = Limit()
    windows: tuple[Window, ...] = ()
    time_zone: str = "UTC"
    backoff: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a budget may match. ``datastores``: (endpoint, storage backend) pairs that it reads or writes."""

    project_id: str
    endpoints: frozenset[str]
    link: tuple[frozenset[str], frozenset[str]]  # regions of the source and of the destination
    hosts: frozenset[str] = frozenset()
    datastores: frozenset[tuple[str, str]] = frozenset()


def limit_at(budget: Budget, moment: dt.datetime) -> Limit:
    """What holds at that moment (naive UTC): the first window that it is in, otherwise the budget's own limit."""
    local = moment.replace(tzinfo=dt.UTC).astimezone(zoneinfo.ZoneInfo(budget.time_zone))
    minute = local.hour * 60 + local.minute
    return next((w.limit for w in budget.windows if w.holds(local.weekday(), minute)), budget.limit)


def applies(budget: Budget, stream: Stream) -> bool:
    """Whether the stream's bytes count against the budget."""
    target = budget.target
    if budget.scope is Scope.LINK:
        ends = zip(("source_region", "destination_region"), stream.link, strict=True)
        return all(target.get(name) in (None, *regions) for name, regions in ends)
    if budget.scope is Scope.DATASTORE:
        return any(
            backend == target["storage_backend"] and target.get("endpoint_id") in (None, endpoint)
            for endpoint, backend in stream.datastores
        )
    if budget.scope is Scope.ENDPOINT:
        return target["endpoint_id"] in stream.endpoints
    if budget.scope is Scope.HOST:
        return target["host"] in stream.hosts
    return target["project_id"] == stream.project_id


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A stream that wants its share. ``budgets``: the ids of those that apply. ``demand``: what it could use."""

    key: str
    budgets: frozenset[str]
    demand: float = math.inf


def demand(used: float, granted: float | None) -> float:
    """What a stream that was granted so much, and used so much, could use."""
    if granted is None or used >= _GREEDY * granted:
        return math.inf
    return max(_HEADROOM * used, float(_LEAST))


def admitted(claims: Sequence[Claim], limits: Mapping[str, Limit]) -> list[Claim]:
    """Those that may move bytes at all, in the order of the claims: the longest running ones come first."""
    count: collections.Counter[str] = collections.Counter()
    chosen = []
    for claim in claims:
        caps = ((each, limits[each].streams) for each in claim.budgets if each in limits)
        if all(cap is None or count[each] < cap for each, cap in caps):
            count.update(claim.budgets)
            chosen.append(claim)
    return chosen


def shares(claims: Sequence[Claim], limits: Mapping[str, Limit]) -> dict[str, float]:
    """The max-min fair share of each claim; infinite for what no budget limits.

    All rates grow alike until a budget is used up or a stream has what it could use; those it concerns stop there,
    the others go on. So no stream can get more without taking from one that has no more than itself, and no byte of
    a budget lies idle while a stream that could use it waits.
    """
    return {**dict.fromkeys((claim.key for claim in claims), 0.0), **_fill(admitted(claims, limits), _rates(limits))}


def _rates(limits: Mapping[str, Limit]) -> dict[str, float]:
    return {each: float(one.bytes_per_second) for each, one in limits.items() if one.bytes_per_second is not None}


def _fill(claims: Iterable[Claim], left: dict[str, float]) -> dict[str, float]:
    """Progressive filling. Takes what it gives from ``left``."""
    result: dict[str, float] = {}
    growing = {claim.key: claim for claim in claims}
    level = 0.0
    while growing:
        counts = collections.Counter(each for claim in growing.values() for each in claim.budgets if each in left)
        steps = {each: left[each] / count for each, count in counts.items()}
        step = min([*steps.values(), *(claim.demand - level for claim in growing.values())])
        if math.isinf(step):
            return result | dict.fromkeys(growing, math.inf)
        level += step
        full = {each for each, one in steps.items() if one <= step}
        for each, count in counts.items():
            left[each] = 0.0 if each in full else max(0.0, left[each] - step * count)
        for key, claim in list(growing.items()):
            if claim.demand <= level or claim.budgets & full:
                result[key] = level
                del growing[key]
    return result


def with_spare(claims: Sequence[Claim], limits: Mapping[str, Limit]) -> dict[str, float]:
    """The shares, and on top of them what nobody asks for, spread alike: who could use little until now may find its
    source quick again, and should not have to grow in steps."""
    got = shares(claims, limits)
    in_ = admitted(claims, limits)
    left = _rates(limits)
    for claim in in_:
        for each in claim.budgets & left.keys():
            left[each] = max(0.0, left[each] - got[claim.key])
    more = _fill((Claim(key=claim.key, budgets=claim.budgets) for claim in in_), left)
    return {key: rate + more.get(key, 0.0) for key, rate in got.items()}


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A claim and what it was granted last; ``granted`` None: nothing yet, or without limit."""

    claim: Claim
    granted: float | None = None


def grants(holdings: Sequence[Holding], asking: Iterable[str], limits: Mapping[str, Limit]) -> dict[str, float]:
    """What each of the streams that ``asking`` names may use from now on, infinite for no limit.

    Workers hear of a change one after the other. So a stream gets its fair share, but never more than what the others
    have not been granted: the sum never grows over a budget while those that lose have not yet heard of it.
    """
    fair = with_spare([one.claim for one in holdings], limits)
    held = {one.claim.key: fair[one.claim.key] if one.granted is None else one.granted for one in holdings}
    claims = {one.claim.key: one.claim for one in holdings}
    keys = list(asking)
    held.update(dict.fromkeys(keys, 0.0))  # they hear of it together
    for key in keys:
        free = math.inf
        for each in claims[key].budgets:
            limit = limits[each].bytes_per_second if each in limits else None
            if limit is not None:
                others = sum(held[k] for k, claim in claims.items() if k != key and each in claim.budgets)
                free = min(free, max(0.0, limit - others))
        held[key] = min(fair[key], free)
    return {key: held[key] for key in keys}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a budget is used for now."""

    streams: int = 0
    used: float = 0.0
    granted: float = 0.0


def usage(rows: Iterable[tuple[Iterable[str], float, float | None]]) -> dict[str, Usage]:
    """By budget, from (budgets, used, granted) of each stream. One without a grant counts for nothing granted."""
    found: dict[str, Usage] = collections.defaultdict(Usage)
    for budgets, used, granted in rows:
        for each in budgets:
            sum_ = found[each]
            found[each] = Usage(
                streams=sum_.streams + 1, used=sum_.used + used, granted=sum_.granted + (granted or 0.0)
            )
    return dict(found)
