# SPDX-License-Identifier: Apache-2.0
"""Hundreds of servers of one cloud: listed, planned, and migrated as one job and as a job each, with what the cloud is
asked for each of them.

The source is the lab's newest cloud with Nova's fake driver (``new-fake``): its servers do not run, everything else is
real, and so are the bytes: the server snapshot in Glance is fetched and copied, 1 MiB of each. The destination is the
null provider, which swallows them; for one plan it is the cloud itself. ``CORIOLIS_SCALE``: how many servers (500).

Calls are those that the cloud's services have logged with our user agent (`tests.lab.watch`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.lab import content
from tests.lab.fixtures import LabCloud, running
from tests.lab.fleet import Fleet, fleet
from tests.lab.watch import Call, Kind, Watch, counted
from tests.perf.contest import limit_row
from tests.perf.standalone_bench import Running, standalone

CLOUD = "new-fake"
PROVIDERS = "openstack,null"
SIZE, QUICK_SIZE = int(os.environ.get("CORIOLIS_SCALE", "500")), 20
_PLANNED_AT_ONCE = 50  # what one dry run takes
_LISTING_CALLS = 8
_FEW = 10  # instances of the smaller job are the tenth part
_LIMIT_SECONDS = 7200.0
_LISTS_KEPT = 0.05  # of an instance: one a minute, whatever the number of instances
INTO_THE_CLOUD = {"network_map": {content.NETWORK: content.NETWORK}, "storage_mappings": {"default": "fast"}}
_KEEPING_NOTHING = {"destination_environment": {"verification": "none"}}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """On so many instances."""

    instances: int
    seconds: float
    calls: Sequence[Call]

    def each(self, *kinds: Kind) -> float:
        """Calls of these kinds, or all, for one instance."""
        found = counted(self.calls)
        return sum(count for kind, count in found.items() if not kinds or kind in kinds) / self.instances

    @property
    def lists(self) -> int:
        return counted(self.calls)[Kind.LIST]

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {self.each(kind):.1f}" for kind in Kind)
        seconds = self.seconds / self.instances
        return f"{self.instances} instances, {seconds:.1f} s and {self.each():.1f} calls each: {kinds}"


class Desk:
    """Asks a standalone to work on the servers of a fleet. ``cloud``, ``nowhere``: destinations."""

    def __init__(self, running: Running, ships: Fleet) -> None:
        self._client, self._cloud = running.client, ships.cloud.cloud
        self.origin, self.cloud = (self.endpoint("openstack", ships.info) for _ in range(2))
        self.nowhere = self.endpoint("null", {})

    def endpoint(self, kind: str, info: Mapping[str, Any]) -> str:
        return str(self._client.create_endpoint(name=kind, type=kind, connection_info=dict(info)).id)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(path, method, json=body)
        if not answer.ok:
            raise RuntimeError(answer.text)
        return answer.json() if answer.content else None

    def listed(self) -> tuple[Sequence[str], Spent]:
        """Ids of all servers."""
        with self._spending() as spent:
            found = self.ask("GET", f"/endpoints/{self.origin}/instances")["instances"]
        return [one["id"] for one in found], spent(len(found))

    def page(self, *, limit: int, marker: str | None) -> Sequence[str]:
        """Ids of the servers after ``marker``."""
        query = f"limit={limit}" + (f"&marker={marker}" if marker else "")
        return [one["id"] for one in self.ask("GET", f"/endpoints/{self.origin}/instances?{query}")["instances"]]

    def planned(self, ids: Sequence[str], destination: str, **more: Any) -> Spent:
        """What a migration would do. :raises RuntimeError: it is not possible"""
        with self._spending() as spent:
            for first in range(0, len(ids), _PLANNED_AT_ONCE):
                order = self._order(ids[first : first + _PLANNED_AT_ONCE], destination, **more)
                plan = self.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
                if not plan["possible"]:
                    blocked = [one for one in plan["instances"] if not one["possible"]]
                    raise RuntimeError(f"it is not possible: {plan['concerns']}, {blocked[:1]}")
        return spent(len(ids))

    def migrated(self, jobs: Sequence[Sequence[str]], destination: str | None = None, **more: Any) -> Spent:
        """By jobs of these instances, from the first request until all have completed; to nowhere, unless said."""
        where = (self.nowhere, _KEEPING_NOTHING) if destination is None else (destination, more)
        with self._spending() as spent:
            with ThreadPoolExecutor(8) as pool:
                made = set(pool.map(lambda ids: self._migrate(ids, *where), jobs))
            self._await()
        ended = [one for one in self._client.migrations(limit=1000) if one.id in made]
        failed = [one.id for one in ended if one.status != "COMPLETED"]
        if failed or len(ended) != len(jobs):
            why = self._why(failed[:1])
            raise RuntimeError(f"of {len(jobs)} migrations {len(ended)} ended, {len(failed)} badly: {why}")
        return spent(sum(map(len, jobs)))

    def _why(self, jobs: Sequence[str]) -> list[str]:
        tasks = [task for job in jobs for task in self.ask("GET", f"/migrations/{job}")["migration"]["tasks"]]
        return [f"{task['task_type']}: {task['exception_details']}" for task in tasks if task.get("exception_details")]

    def _migrate(self, ids: Sequence[str], destination: str, more: Mapping[str, Any]) -> str:
        order = self._order(ids, destination, **more)
        return str(self.ask("POST", "/migrations", {"migration": order})["migration"]["id"])

    def _order(self, ids: Sequence[str], destination: str, **more: Any) -> Row:
        return {
            "origin_endpoint_id": self.origin,
            "destination_endpoint_id": destination,
            "instances": list(ids),
            "replication_count": 1,
            **more,
        }

    def _await(self) -> None:
        end = time.monotonic() + _LIMIT_SECONDS
        # In the order of a migration's life: none slips through between two questions.
        while any(list(self._client.migrations(paginated=False, status=s, limit=1)) for s in ("PENDING", "RUNNING")):
            if time.monotonic() > end:
                raise TimeoutError(f"not all migrations are over after {_LIMIT_SECONDS:.0f} s")
            time.sleep(0.5)

    @contextlib.contextmanager
    def _spending(self) -> Iterator[Callable[[int], Spent]]:
        """Gives, after the block, what was spent in it on so many instances."""
        watch, begun, seconds = Watch(self._cloud), time.monotonic(), 0.0
        yield lambda instances: Spent(instances=instances, seconds=seconds, calls=watch.calls())
        seconds = time.monotonic() - begun


def run(*, quick: bool = False) -> Iterator[Row]:
    size = QUICK_SIZE if quick else SIZE
    os.environ["no_proxy"] = "*"  # the clouds are on the loopback
    with running([CLOUD]) as clouds:
        yield from measure(clouds[CLOUD], size)


def measure(cloud: LabCloud, size: int) -> Iterator[Row]:
    ships = fleet(cloud, size)
    with standalone(PROVIDERS) as service:
        desk = Desk(service, ships)
        ids, spent = desk.listed()
        if sorted(ids) != list(ships.ids):
            raise RuntimeError(f"{len(ids)} servers are listed, {size} are there")
        yield from _listing(spent)
        few = ids[: max(1, size // _FEW)]
        yield from _work("planning", desk.planned(few, desk.nowhere), desk.planned(ids, desk.nowhere))
        some = [desk.planned(ids[:count], desk.cloud, **INTO_THE_CLOUD) for count in (len(few), 2 * len(few))]
        yield from _work("planning, the cloud as destination", *some, lists=_LISTS_KEPT)
        small = desk.migrated([few])
        yield from _work(f"one job of {size} instances", small, desk.migrated([ids]))
        yield from _work(f"{size} jobs of one instance", small, desk.migrated([[one] for one in ids]))
    left = ships.left()
    yield limit_row("things left in the cloud", len(left), "things", most=0)


def _listing(spent: Spent) -> Iterator[Row]:
    name = f"a list of {spent.instances} servers"
    yield limit_row(f"{name}: time", spent.seconds, "s")
    yield limit_row(f"{name}: API calls", len(spent.calls), "calls", most=_LISTING_CALLS)


def _work(name: str, few: Spent, many: Spent, *, lists: float = 0) -> Iterator[Row]:
    """``few``: the same with fewer instances. Lists may be asked for, but not more of them for more instances."""
    grown = (many.lists - few.lists) / (many.instances - few.instances)
    yield limit_row(f"{name}: time", many.seconds / many.instances, "s/instance")
    yield limit_row(f"{name}: API calls", many.each(), "calls/instance")
    yield limit_row(f"{name}: of these, tokens and versions", many.each(Kind.TOKEN, Kind.VERSION), "calls/instance")
    yield limit_row(f"{name}: of these, lookups", many.each(Kind.LOOKUP), "calls/instance")
    yield limit_row(f"{name}: lists for each further instance", grown, "calls/instance", most=lists)


if __name__ == "__main__":
    for row in run(quick="--quick" in sys.argv):
        print(json.dumps(row), flush=True)
