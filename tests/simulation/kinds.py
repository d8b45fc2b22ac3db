# SPDX-License-Identifier: Apache-2.0
"""What the tasks of the migrate recipe do to the simulated platforms, with the worker's own ledger code.

Each function is one attempt: it may wait, raise, or be cut off anywhere. ``job`` is lent by the agent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from coriolis.rpc.messages import Assign
from coriolis.worker.effects import Ledger
from tests.simulation.cloud import Cloud
from tests.simulation.world import Process

SOURCE_POWER, DESTINATION_POWER = "power/source", "power/destination"


class Cancelled(Exception):
    """The attempt was told to stop, and stops."""


class Refused(Exception):
    """The platform refuses for good."""


class Job(Protocol):
    assign: Assign
    ledger: Ledger
    cloud: Cloud
    process: Process

    def check_cancelled(self) -> None: ...
    def check_refused(self, disk: str) -> None: ...
    def copied(self, disk: str, done: int, total: int) -> None: ...
    def must_exist(self, what: str, ref: str) -> None: ...


def _ensure(job: Job, kind: str, name: str) -> str:
    assign, cloud, process = job.assign, job.cloud, job.process
    return str(
        job.ledger.ensure(
            kind,
            name,
            lambda key: cloud.create(process, kind, key, assign.instance),
            lambda ref, key: cloud.delete(process, ref, key),
        )
    )


def inspect(job: Job) -> dict[str, Any]:
    job.process.sleep(0.5)
    return {"vm": {"name": job.assign.instance, "devices": {"disks": [{"id": disk} for disk in job.cloud.disks]}}}


def check_source(job: Job) -> dict[str, Any]:
    job.process.sleep(0.3)
    return {"concerns": []}


def plan(job: Job) -> dict[str, Any]:
    job.process.sleep(0.3)
    return {"layout": {"of": job.assign.inputs["vm"]["name"]}}


def volumes(job: Job) -> dict[str, Any]:
    made = {}
    try:
        for disk in job.cloud.disks:
            job.check_cancelled()
            job.check_refused(disk)
            made[disk] = _ensure(job, "volume", f"volume/{disk}")
    except Refused:
        for disk in reversed(made):  # the fast path; the ledger is the guarantee
            job.ledger.remove_named(f"volume/{disk}", lambda ref, key: job.cloud.delete(job.process, ref, key))
        raise
    return {"volumes": made}


def shutdown(job: Job) -> dict[str, Any]:
    instance, cloud, process = job.assign.instance, job.cloud, job.process
    if job.ledger.known(SOURCE_POWER) is None and not cloud.request(process, lambda: cloud.source_on[instance]):
        return {}

    def stop() -> Any:
        cloud.switch_source(process, instance, on=False)
        return instance

    job.ledger.switch("power", SOURCE_POWER, stop, intent=instance)
    return {}


def snapshot(job: Job) -> dict[str, Any]:
    if "snapshot@prev" in job.assign.inputs:
        job.must_exist("the base snapshot", job.assign.inputs["snapshot@prev"])
    return {"snapshot": _ensure(job, "snapshot", "snapshot")}


def copy(job: Job) -> dict[str, Any]:
    inputs, disk = job.assign.inputs, job.assign.item
    assert disk is not None
    first = (job.assign.checkpoint or {}).get("done", 0)
    for done in range(first, 3):
        job.check_cancelled()
        job.process.sleep(job.process.world.rng.uniform(1.0, 5.0))
        for name in ("snapshot", "snapshot@prev"):
            if name in inputs:
                job.must_exist(name, inputs[name])
        job.must_exist("the volume", inputs["volumes"][disk])
        job.copied(disk, done + 1, 3)
    return {"digest": f"digest of {disk}"}


def verify(job: Job) -> dict[str, Any]:
    assert job.assign.item is not None
    assert job.assign.inputs["digest"] == f"digest of {job.assign.item}"
    job.process.sleep(2.0)
    job.must_exist("the volume", job.assign.inputs["volumes"][job.assign.item])
    return {"verified": True}


def deploy(job: Job) -> dict[str, Any]:
    for disk in job.cloud.disks:
        job.must_exist("the volume", job.assign.inputs["volumes"][disk])
    return {"deployed": _ensure(job, "instance", "instance")}


def finalize(job: Job) -> dict[str, Any]:
    ref = job.assign.inputs["deployed"]
    job.must_exist("the new instance", ref)

    def start() -> Any:
        job.cloud.switch(job.process, ref, on=True)
        return ref

    job.ledger.switch("power", DESTINATION_POWER, start, intent=ref)
    return {"transfer_result": {"id": ref}}


def remove(job: Job) -> dict[str, Any]:
    """Any undo, cleanup or sweep: what the order says there may be, youngest first."""
    for effect in reversed(job.assign.effects):

        def undo(ref: Any, key: str, name: str = effect.name) -> None:
            if name == SOURCE_POWER:
                job.cloud.switch_source(job.process, ref, on=True)
            elif name == DESTINATION_POWER:
                job.cloud.switch(job.process, ref, on=False)
            else:
                job.cloud.delete(job.process, ref, key)

        job.ledger.remove(dataclasses.replace(effect), undo)
    return {}


KINDS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "inspect": inspect,
    "check_source": check_source,
    "plan": plan,
    "volumes": volumes,
    "shutdown": shutdown,
    "snapshot": snapshot,
    "copy": copy,
    "verify": verify,
    "deploy": deploy,
    "finalize": finalize,
    "undo_volumes": remove,
    "delete_snapshot": remove,
    "undo_shutdown": remove,
    "undo_deploy": remove,
    "undo_finalize": remove,
}
