# SPDX-License-Identifier: Apache-2.0
"""Instances of the fake cloud: made of volumes, started, stopped."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Context, Deployed, Environment, Gone, Instance, Layout, Volume
from coriolis.providers.fake.blocks import find_volume
from coriolis.providers.fake.cloud import Cloud, State, tag
from coriolis.providers.fake.faults import Faults


class FakeCompute:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        with self._faults.around("compute.create", context) as reached:
            ref = f"i-{tag(key)}"
            with self._cloud.change() as state:
                if ref not in state["instances"]:
                    state["instances"][ref] = _record(instance, layout, key)
            reached("middle")
            with self._cloud.change() as state:
                record = state["instances"][ref]
                for volume in volumes:
                    record["disks"][volume.disk_id] = _attach(state, volume, ref)
            return Deployed(ref=ref, name=layout.name, running=record["running"])

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        with self._faults.around("compute.delete", context):
            with self._cloud.change() as state:
                name = ref if ref in state["instances"] else f"i-{tag(key)}"
                record = state["instances"].get(name)
                if record is None:
                    return
                if record["key"] is None:
                    raise Conflict(f"The instance {name} was not made by us: not deleted.")
                for volume in state["volumes"].values():
                    if volume["owner"] == name:
                        volume["owner"] = None
                del state["instances"][name]

    def is_running(self, ref: str, context: Context) -> bool:
        with self._faults.around("compute.is_running", context):
            return bool(_find(self._cloud.read(), ref)["running"])

    def start(self, ref: str, context: Context) -> Deployed:
        with self._faults.around("compute.start", context):
            name = self._power(ref, running=True)
            return Deployed(ref=ref, name=name, running=True, console=f"file://{self._cloud.path}/cloud.json")

    def stop(self, ref: str, context: Context) -> None:
        with self._faults.around("compute.stop", context):
            self._power(ref, running=False)

    def _power(self, ref: str, *, running: bool) -> str:
        with self._cloud.change() as state:
            record = _find(state, ref)
            record["running"] = running
            return str(record["name"])


def _find(state: State, ref: str) -> dict[str, Any]:
    if ref not in state["instances"]:
        raise Gone(f"The fake cloud has no instance {ref!r}.")
    record: dict[str, Any] = state["instances"][ref]
    return record


def _record(instance: Instance, layout: Layout, key: str) -> dict[str, Any]:
    return {
        "name": layout.name,
        "num_cpu": instance.num_cpu,
        "memory_mb": instance.memory_mb,
        "running": False,
        "firmware": str(instance.firmware_type),
        "os_type": str(instance.os_type),
        "networks": [nic.network for nic in layout.nics],
        "disks": {},
        "key": key,
    }


def _attach(state: State, volume: Volume, ref: str) -> dict[str, Any]:
    key = find_volume(state, volume.ref)
    if key is None:
        raise Gone(f"The fake cloud has no volume {volume.ref!r}.")
    record = state["volumes"][key]
    if record["owner"] not in (None, ref):
        raise Conflict(f"The volume {volume.ref} belongs to the instance {record['owner']}.")
    record["owner"] = ref
    return {"file": record["file"], "format": "raw", "size": record["size"], "storage": record["storage"]}
