# SPDX-License-Identifier: Apache-2.0
"""Minions of the fake cloud: records that are on or off, and may fall ill (``"healthy": false``)."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Context, Environment, Gone, Minion, Unavailable
from coriolis.providers.fake.cloud import Cloud, tag
from coriolis.providers.fake.faults import Faults


class FakeMinions:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def create(self, name: str, key: str, environment: Environment, context: Context) -> Minion:
        with self._faults.around("minions.create", context) as reached:
            ref = f"m-{tag(key)}"
            with self._cloud.change() as state:
                made = {"name": name, "key": key, "running": False, "healthy": True, "image": environment["image"]}
                state["minions"].setdefault(ref, made)
            reached("middle")
            return self._start(ref)

    def check(self, ref: str, environment: Environment, context: Context) -> Minion:
        with self._faults.around("minions.check", context):
            return self._start(ref)

    def stop(self, ref: str, context: Context) -> None:
        with self._faults.around("minions.stop", context), self._cloud.change() as state:
            if ref in state["minions"]:
                state["minions"][ref]["running"] = False

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        with self._faults.around("minions.delete", context), self._cloud.change() as state:
            found = state["minions"].get(ref or f"m-{tag(key)}")
            if found is not None and found["key"] != key:
                raise Conflict(f"The minion {ref} was made by somebody else: not deleted.")
            state["minions"].pop(ref or f"m-{tag(key)}", None)

    def _start(self, ref: str) -> Minion:
        with self._cloud.change() as state:
            record = state["minions"].get(ref)
            if record is None:
                raise Gone(f"The fake cloud has no minion {ref!r}.")
            if not record["healthy"]:
                raise Unavailable(f"The minion {record['name']} does not get ready.")
            record["running"] = True
            return Minion(
                ref=ref,
                name=record["name"],
                running=True,
                address={"ip": "127.0.0.1", "port": 22, "username": "minion"},
                properties={"image": record["image"]},
            )
