# SPDX-License-Identifier: Apache-2.0
"""How streams share budgets, over any set of both; and windows, minute by minute."""

from __future__ import annotations

import collections
import datetime as dt
import math
import zoneinfo

from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain.bandwidth import (
    Budget,
    Claim,
    Holding,
    Limit,
    Scope,
    Window,
    admitted,
    demand,
    grants,
    limit_at,
    shares,
    with_spare,
)

IDS = ("a", "b", "c")
rates = st.none() | st.integers(1, 10**9)
limit = st.builds(Limit, bytes_per_second=rates, streams=st.none() | st.integers(0, 4))
limits = st.dictionaries(st.sampled_from(IDS), limit)
demands = st.just(math.inf) | st.floats(1, 1e9)
claims = st.lists(
    st.tuples(st.frozensets(st.sampled_from(IDS)), demands).map(
        lambda drawn: Claim(key="", budgets=drawn[0], demand=drawn[1])
    ),
    max_size=8,
).map(lambda found: [Claim(key=f"s{i}", budgets=c.budgets, demand=c.demand) for i, c in enumerate(found)])


def sums(found: list[Claim], given_: dict[str, float]) -> dict[str, float]:
    total: dict[str, float] = collections.defaultdict(float)
    for claim in found:
        for each in claim.budgets:
            total[each] += given_[claim.key]
    return total


def near(value: float) -> float:
    return value * (1 + 1e-9) + 1e-6


@given(claims, limits)
def test_never_above_a_budget_nor_above_what_it_could_use(found: list[Claim], limits: dict[str, Limit]) -> None:
    got = shares(found, limits)
    assert set(got) == {claim.key for claim in found}
    for each, total in sums(found, got).items():
        rate = limits[each].bytes_per_second if each in limits else None
        assert rate is None or total <= near(rate)
    assert all(got[claim.key] <= near(claim.demand) for claim in found)


@given(claims, limits)
def test_nobody_starves_who_is_admitted(found: list[Claim], limits: dict[str, Limit]) -> None:
    got = shares(found, limits)
    in_ = admitted(found, limits)
    counts = collections.Counter(each for claim in in_ for each in claim.budgets)
    for claim in in_:
        caps = [(limits[e].bytes_per_second, counts[e]) for e in claim.budgets if e in limits]
        least = min([claim.demand, *(rate / count for rate, count in caps if rate is not None)])
        assert near(got[claim.key]) >= least > 0


@given(claims, limits)
def test_nothing_lies_idle_that_somebody_could_use(found: list[Claim], limits: dict[str, Limit]) -> None:
    got = shares(found, limits)
    total = sums(found, got)
    for claim in admitted(found, limits):
        full = any(
            each in limits
            and limits[each].bytes_per_second is not None
            and near(total[each]) >= (limits[each].bytes_per_second or 0)
            for each in claim.budgets
        )
        assert full or near(got[claim.key]) >= claim.demand


@given(claims, limits)
def test_who_gets_less_is_stopped_by_a_budget_in_which_nobody_gets_more(
    found: list[Claim], limits: dict[str, Limit]
) -> None:
    got = shares(found, limits)
    total = sums(found, got)
    for claim in admitted(found, limits):
        if near(got[claim.key]) >= claim.demand:
            continue
        stops = [
            each
            for each in claim.budgets
            if each in limits and (rate := limits[each].bytes_per_second) is not None and near(total[each]) >= rate
        ]
        assert any(
            all(got[other.key] <= near(got[claim.key]) for other in found if each in other.budgets) for each in stops
        )


@given(claims, limits)
def test_as_many_streams_as_allowed_move(found: list[Claim], limits: dict[str, Limit]) -> None:
    in_ = admitted(found, limits)
    counts = collections.Counter(each for claim in in_ for each in claim.budgets)
    caps = {each: one.streams for each, one in limits.items() if one.streams is not None}
    assert all(counts[each] <= cap for each, cap in caps.items())
    for claim in found:
        assert claim in in_ or any(counts[each] >= caps[each] for each in claim.budgets if each in caps)


@given(claims, limits)
def test_the_spare_goes_to_those_who_move_and_stays_within_the_budgets(
    found: list[Claim], limits: dict[str, Limit]
) -> None:
    fair, got = shares(found, limits), with_spare(found, limits)
    total = sums(found, got)
    assert all(near(got[key]) >= fair[key] for key in fair)
    for each, one in limits.items():
        assert one.bytes_per_second is None or total[each] <= near(one.bytes_per_second)
    for claim in admitted(found, limits):
        rates = [limits[each].bytes_per_second for each in claim.budgets if each in limits]
        if all(rate is None for rate in rates):
            assert math.isinf(got[claim.key])


steps = st.lists(st.tuples(st.sampled_from(("join", "leave", "ask", "ask", "ask")), st.integers(0, 5)), max_size=30)


@given(steps, st.integers(1, 1000))
def test_the_sum_of_grants_never_exceeds_the_budget_while_streams_come_and_go(
    story: list[tuple[str, int]], rate: int
) -> None:
    limits = {"a": Limit(bytes_per_second=rate)}
    held: dict[str, float | None] = {}
    for what, number in story:
        key = f"s{number}"
        if what == "join":
            held.setdefault(key, 0.0)
        elif what == "leave":
            held.pop(key, None)
        elif key in held:
            holdings = [Holding(claim=Claim(key=k, budgets=frozenset("a")), granted=g) for k, g in held.items()]
            held.update(grants(holdings, [key], limits))
        assert sum(g or 0.0 for g in held.values()) <= near(rate)
    for _ in range(2):  # all hear of it, twice: those that lose first, then those that gain
        for key in held:
            holdings = [Holding(claim=Claim(key=k, budgets=frozenset("a")), granted=g) for k, g in held.items()]
            held.update(grants(holdings, [key], limits))
    assert all(abs((g or 0.0) - rate / len(held)) <= near(rate) * 1e-6 for g in held.values())


@given(st.floats(0, 1e9), st.none() | st.floats(0, 1e9))
def test_a_stream_that_uses_its_share_asks_for_more_and_one_that_does_not_keeps_some_room(
    used: float, granted: float | None
) -> None:
    wanted = demand(used, granted)
    if granted is None or granted == 0 or used >= granted:
        assert math.isinf(wanted)
    assert wanted > used


moments = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1))
windows = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6)),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    limit=st.just(Limit(bytes_per_second=7)),
)


@given(moments, windows, st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns")))
def test_a_window_holds_when_a_walk_through_its_minutes_meets_the_local_time(
    moment: dt.datetime, window: Window, zone: str
) -> None:
    budget = Budget(
        id="a",
        scope=Scope.PROJECT,
        target={"project_id": "p"},
        limit=Limit(bytes_per_second=1),
        windows=(window,),
        time_zone=zone,
    )
    local = moment.replace(tzinfo=dt.UTC).astimezone(zoneinfo.ZoneInfo(zone))
    length = (window.end - window.start) % 1440 or 1440
    inside = set()
    for day in window.days:
        inside |= {(day * 1440 + window.start + i) % (7 * 1440) for i in range(length)}
    here = local.weekday() * 1440 + local.hour * 60 + local.minute
    assert limit_at(budget, moment).bytes_per_second == (7 if here in inside else 1)
