# SPDX-License-Identifier: Apache-2.0
"""Lists that attempts of one worker share for a minute."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coriolis.providers.api import Context, Instance, Invalid
from coriolis.providers.openstack.flavors import plan_flavor
from coriolis.providers.openstack.kept import listed


class _Compute:
    """Flavors; counts how often it is asked for them."""

    def __init__(self, *names: str, address: str = "http://nova") -> None:
        self.names, self.address, self.asked = list(names), address, 0

    def get_endpoint(self) -> str:
        return self.address

    def flavors(self) -> list[Any]:
        self.asked += 1
        more = {"vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "extra_specs": {}, "is_disabled": False}
        return [SimpleNamespace(id=f"id-{name}", name=name, **more) for name in self.names]


def _cloud(compute: _Compute, **facts: Any) -> Any:
    known = {"name": "cloud", "auth_url": "http://a", "project_id": "p", "roles": frozenset({"member"}), "proven": True}
    return SimpleNamespace(sdk=SimpleNamespace(compute=compute), **{**known, **facts})


def _context(folder: Path) -> Context:
    return Context(log=logging.getLogger(), scratch=folder, staging=folder / "staging")


def _instance(memory: int = 256) -> Instance:
    return Instance(id="i", name="i", instance_name="i", num_cpu=1, memory_mb=memory)


def test_a_job_lists_flavors_once(tmp_path: Path) -> None:
    compute = _Compute("small")
    for wanted in ({}, {"flavor_name": "small"}, {"flavor_name": "id-small"}):
        flavor, concerns = plan_flavor(_cloud(compute), _instance(), wanted, _context(tmp_path))
        assert (flavor.id, concerns) == ("id-small", [])
    assert compute.asked == 1


def test_one_that_was_made_since_is_found(tmp_path: Path) -> None:
    compute = _Compute("small")
    context = _context(tmp_path)
    plan_flavor(_cloud(compute), _instance(), {}, context)
    compute.names.append("new")
    assert plan_flavor(_cloud(compute), _instance(), {"flavor_name": "new"}, context)[0].id == "id-new"
    assert compute.asked == 2
    with pytest.raises(Invalid, match="there is no flavor other"):
        plan_flavor(_cloud(compute), _instance(), {"flavor_name": "other"}, context)
    with pytest.raises(Invalid, match="has 1 CPUs and 4096 MiB"):
        plan_flavor(_cloud(compute), _instance(4096), {}, context)
    assert compute.asked == 4


@pytest.mark.parametrize(
    "facts",
    [{"project_id": "q"}, {"auth_url": "http://b"}, {"roles": frozenset({"admin"})}, {"proven": False}],
    ids=lambda facts: next(iter(facts)),
)
def test_nobody_else_gets_it(facts: dict[str, Any], tmp_path: Path) -> None:
    mine, theirs = _Compute("mine"), _Compute("theirs")
    plan_flavor(_cloud(mine), _instance(), {}, _context(tmp_path))
    assert plan_flavor(_cloud(theirs, **facts), _instance(), {}, _context(tmp_path))[0].name == "theirs"


def test_another_service_gives_its_own(tmp_path: Path) -> None:
    mine, theirs = _Compute("mine"), _Compute("theirs", address="http://override")
    plan_flavor(_cloud(mine), _instance(), {}, _context(tmp_path))
    assert plan_flavor(_cloud(theirs), _instance(), {}, _context(tmp_path))[0].name == "theirs"


def test_after_a_minute_it_is_asked_for_anew(tmp_path: Path) -> None:
    compute, answers = _Compute(), iter(["old", "new", "never"])

    def ask() -> list[str]:
        return list(listed(_cloud(compute), "compute", "names", lambda: [next(answers)], context, has=bool))

    context = _context(tmp_path)
    assert (ask(), ask()) == (["old"], ["old"])
    (kept,) = (tmp_path / "staging").glob("*/*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    for age, found in ((61, "new"), (-30, "never")):  # of a clock that was set back, too
        os.utime(kept, (time.time() - age, time.time() - age))
        assert ask() == [found]
    kept.write_text("[")
    with pytest.raises(StopIteration):  # what was cut off is not believed
        ask()
