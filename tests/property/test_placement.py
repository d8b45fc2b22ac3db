# SPDX-License-Identifier: Apache-2.0
"""Placement, over any set of workers and tasks."""

from __future__ import annotations

import collections

from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain.capabilities import Capability
from coriolis.domain.model import Need
from coriolis.domain.placement import Candidate, Limits, Request, place, refused_by

CAPABILITIES = sorted(Capability)[:3]
names = st.sampled_from(["ova", "libvirt"])
some = st.frozensets(st.sampled_from(CAPABILITIES), max_size=3)
regions = st.frozensets(st.sampled_from(["north", "south"]), max_size=2)
limit_keys = st.sampled_from(["endpoint:a", "endpoint:b"])


@st.composite
def workers(draw: st.DrawFn) -> list[Candidate]:
    return [
        Candidate(
            session_id=f"s{number}",
            host=draw(st.sampled_from(["h1", "h2", "h3"])),
            providers=draw(st.dictionaries(names, some)),
            regions=draw(regions),
            slots=draw(st.integers(1, 4)),
            running=draw(st.integers(0, 4)),
            live=draw(st.integers(0, 5)) > 0,
            draining=draw(st.integers(0, 5)) == 0,
            load=draw(st.floats(0, 10)),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


@st.composite
def wanted(draw: st.DrawFn) -> list[Request]:
    return [
        Request(
            task_id=f"t{number}",
            needs=tuple(
                Need(provider=name, capabilities=draw(some)) for name in sorted(draw(st.sets(names, min_size=1)))
            ),
            regions=tuple(draw(st.lists(regions, max_size=2))),
            host=draw(st.none() | st.sampled_from(["h1", "h9"])),
            limits=tuple(sorted(draw(st.sets(limit_keys)))),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


limits = st.builds(
    Limits,
    maximum=st.dictionaries(limit_keys, st.integers(0, 4)),
    used=st.dictionaries(limit_keys, st.integers(0, 3)),
    per_host=st.none() | st.integers(0, 4),
    used_on=st.dictionaries(st.sampled_from(["h1", "h2"]), st.integers(0, 3)),
)


@given(tasks=wanted(), sessions=workers(), limit=limits)
def test_every_choice_is_allowed_and_every_refusal_is_true(tasks, sessions, limit) -> None:
    choices, refusals = place(tasks, sessions, limit)
    assert sorted([c.task_id for c in choices] + [r.task_id for r in refusals]) == [t.task_id for t in tasks]
    by_id = {worker.session_id: worker for worker in sessions}
    by_task = {request.task_id: request for request in tasks}
    load = collections.Counter(choice.session_id for choice in choices)
    on_host = collections.Counter(limit.used_on)
    used = collections.Counter(limit.used)
    for choice in choices:
        worker, request = by_id[choice.session_id], by_task[choice.task_id]
        assert worker.live
        assert not worker.draining
        assert refused_by(worker, request) is None
        on_host[worker.host] += 1
        used.update(request.limits)
    for worker in sessions:
        assert load[worker.session_id] == 0 or worker.running + load[worker.session_id] <= worker.slots
    if limit.per_host is not None:
        assert all(on_host[host] <= max(limit.per_host, limit.used_on.get(host, 0)) for host in on_host)
    for key, most in limit.maximum.items():
        assert used[key] <= max(most, limit.used.get(key, 0))
    for refusal in refusals:
        self_alone = place([by_task[refusal.task_id]], sessions, limit)[0]
        if self_alone:
            assert choices, "refused only because others came first"
        assert refusal.reason


@given(tasks=wanted(), sessions=workers(), limit=limits, data=st.data())
def test_the_order_of_the_workers_does_not_matter(tasks, sessions, limit, data) -> None:
    assert place(tasks, data.draw(st.permutations(sessions)), limit)[0] == place(tasks, sessions, limit)[0]


def worker(name: str, **fields) -> Candidate:
    able = {"ova": frozenset(Capability)}
    return Candidate(**{"session_id": name, "host": f"host-{name}", "providers": able, "slots": 2, **fields})


ONE = Request(task_id="t", needs=(Need(provider="ova", capabilities=frozenset({Capability.INVENTORY})),))


NO_LIMITS = Limits()


def reason(*sessions: Candidate, request: Request = ONE, limit: Limits = NO_LIMITS) -> str:
    return place([request], sessions, limit)[1][0].reason


def test_the_host_of_the_checkpoint_comes_first_then_the_emptier_worker() -> None:
    a, b = worker("a", running=1), worker("b", load=9.0)
    assert place([ONE], [a, b])[0][0].session_id == "b"
    kept = Request(task_id="t", needs=ONE.needs, host="host-a")
    assert place([kept], [a, b])[0][0].session_id == "a"


def test_a_refusal_says_why() -> None:
    assert reason() == "no worker is there"
    assert reason(worker("a", draining=True)) == "no worker is there"
    assert reason(worker("a", running=2)) == "all workers that could run it are busy"
    assert "does not have the provider 'ova'" in reason(worker("a", providers={}))
    assert "lacks 'inventory'" in reason(worker("a", providers={"ova": frozenset()}))
    north, south = frozenset({"north"}), frozenset({"south"})
    far = Request(task_id="t", needs=ONE.needs, regions=(south,))
    assert "not in the region south" in reason(worker("a", regions=north), request=far)
    both = Request(task_id="t", needs=ONE.needs, regions=(north, south))
    assert "not in the region south" in reason(worker("a", regions=north), request=both)
    assert place([both], [worker("a", regions=north | south)])[0]
    closed = Request(task_id="t", needs=ONE.needs, regions=(frozenset(),))
    assert "every region" in reason(worker("a"), request=closed)
    busy = Request(task_id="t", needs=ONE.needs, limits=("endpoint:a",))
    full = Limits(maximum={"endpoint:a": 3}, used={"endpoint:a": 3})
    assert "limit of 3" in reason(worker("a"), request=busy, limit=full)
