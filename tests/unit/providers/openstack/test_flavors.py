# SPDX-License-Identifier: Apache-2.0
"""Flavors that are made for instances: shared by all of one size, whoever makes or removes them first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from openstack.exceptions import ConflictException

from coriolis.providers.openstack.flavors import delete_flavor, ensure_flavor

PLANNED = {"id": None, "name": "coriolis.2.2048", "vcpus": 2, "ram": 2048}
MARK = "coriolis-k"


class _Compute:
    """Nova's flavors: names are unique, and private ones are listed for others only with ``is_public`` None."""

    def __init__(self, *, late: bool = False) -> None:
        self.known: list[Any] = []
        self.access: dict[str, set[str]] = {}
        self.used: set[str] = set()
        self._late = late  # somebody makes one of that name meanwhile

    def flavors(self, is_public: bool | None = True) -> list[Any]:
        return [one for one in self.known if is_public is None or "ours" in self.access[one.id]]

    def create_flavor(self, **given: Any) -> Any:
        late, self._late = self._late, False
        if late or self.known:
            self.known = self.known or [SimpleNamespace(id="f0", **{**given, "description": "theirs"})]
            self.access.setdefault("f0", set())
            raise ConflictException("Flavor with name already exists", http_status=409)
        self.known.append(SimpleNamespace(id="f1", **given))
        self.access["f1"] = set()
        return self.known[0]

    def get_flavor_access(self, flavor: str) -> list[dict[str, str]]:
        return [{"tenant_id": one} for one in self.access[flavor]]

    def flavor_add_tenant_access(self, flavor: str, project: str) -> None:
        self.access[flavor].add(project)

    def servers(self, details: bool, flavor: str) -> list[str]:
        return [flavor] if flavor in self.used else []

    def delete_flavor(self, one: Any, ignore_missing: bool) -> None:
        self.known.remove(one)


def _cloud(compute: _Compute) -> Any:
    return SimpleNamespace(sdk=SimpleNamespace(compute=compute), project_id="ours", roles=frozenset({"admin"}))


def test_it_is_made_once_and_for_the_project() -> None:
    compute = _Compute()
    assert [ensure_flavor(_cloud(compute), PLANNED, MARK) for _ in range(2)] == ["f1", "f1"]
    assert compute.access == {"f1": {"ours"}}


def test_one_that_a_killed_attempt_left_without_access_is_taken() -> None:
    compute = _Compute()
    compute.create_flavor(name=PLANNED["name"], is_public=False, description=MARK)
    assert ensure_flavor(_cloud(compute), PLANNED, MARK) == "f1"
    assert compute.access == {"f1": {"ours"}}


@pytest.mark.filterwarnings("ignore:.*http_status")
def test_another_instance_may_be_first() -> None:
    compute = _Compute(late=True)
    assert ensure_flavor(_cloud(compute), PLANNED, MARK) == "f0"
    assert compute.access == {"f0": {"ours"}}


@pytest.mark.parametrize(("used", "others", "stays"), [(False, False, False), (True, False, True), (False, True, True)])
def test_it_goes_when_nobody_needs_it(used: bool, others: bool, stays: bool) -> None:
    compute = _Compute()
    ensure_flavor(_cloud(compute), PLANNED, MARK)
    compute.used = {"f1"} if used else set()
    compute.access["f1"] |= {"theirs"} if others else set()
    delete_flavor(_cloud(compute), "another")
    assert compute.known
    delete_flavor(_cloud(compute), "k")
    assert bool(compute.known) is stays
