# SPDX-License-Identifier: Apache-2.0
"""What the two existing clients need in the answers.

``KEYS``: what has to be in an object, and what of it may not be null, for the command line. ``web_faults``: what makes
a page of the browser client fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TIMES = "created_at updated_at"
_TRANSFER = "id instances notes last_execution_status created_at"
_POOLS = "origin_minion_pool_id destination_minion_pool_id"
_SIDES = f"origin_endpoint_id destination_endpoint_id {_POOLS}"
_TRANSFER_SHOWN = f"{_TRANSFER} updated_at reservation_id {_SIDES} clone_disks skip_os_morphing"
_DEPLOYMENT_SHOWN = (
    f"id transfer_id last_execution_status instances notes {_TIMES} transfer_scenario_type reservation_id"
    f" {_SIDES} tasks"
)
_NOT_NULL = "instances created_at last_execution_status"
_POOL_KEYS = (
    "id name endpoint_id platform os_type notes status minimum_minions maximum_minions created_at minion_machines"
)

# kind -> the keys that have to exist, and those of them that may not be null
KEYS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "endpoint": (
        _words(f"id name type description connection_info mapped_regions {_TIMES}"),
        _words("connection_info created_at mapped_regions"),
    ),
    "verdict": (_words("valid message"), _words("valid")),
    "transfer in a list": (_words(f"{_TRANSFER} scenario type"), _words("instances created_at last_execution_status")),
    "transfer": (_words(_TRANSFER_SHOWN), _words(_NOT_NULL)),
    "transfer with info": (_words(f"{_TRANSFER_SHOWN} info"), _words(f"{_NOT_NULL} info")),
    "execution in a list": (_words("id action_id number type status created_at tasks"), _words("created_at tasks")),
    "execution": (_words(f"id action_id status {_TIMES} tasks"), _words("created_at tasks")),
    "task": (
        _words("id task_type instance status depends_on exception_details progress_updates"),
        _words("task_type instance status progress_updates"),
    ),
    "progress update": (_words("created_at message index current_step total_steps"), _words("created_at message")),
    "deployment in a list": (
        _words("id transfer_id last_execution_status instances notes created_at type"),
        _words("instances created_at last_execution_status"),
    ),
    "deployment": (_words(_DEPLOYMENT_SHOWN), _words(f"{_NOT_NULL} tasks")),
    "deployment with info": (_words(f"{_DEPLOYMENT_SHOWN} info"), _words(f"{_NOT_NULL} tasks info")),
    "schedule": (
        _words(f"id transfer_id schedule {_TIMES} enabled expiration_date shutdown_instance auto_deploy"),
        _words("schedule"),
    ),
    "instance in a list": (_words("id name memory_mb num_cpu os_type"), frozenset()),
    "instance": (_words("id name memory_mb num_cpu os_type devices"), _words("devices")),
    "network": (_words("id name"), _words("name")),
    "storage": (_words("storage_backends config_default"), _words("storage_backends")),
    "option": (_words("name"), _words("name")),
    "region": (
        _words(f"id name enabled description mapped_endpoints mapped_services {_TIMES}"),
        _words("created_at mapped_endpoints mapped_services"),
    ),
    "service": (
        _words(f"id host binary topic enabled status mapped_regions {_TIMES}"),
        _words("created_at mapped_regions"),
    ),
    "minion pool in a list": (_words(_POOL_KEYS), _words("minion_machines")),
    "minion pool": (
        _words(f"{_POOL_KEYS} updated_at maintenance_trust_id minion_max_idle_time minion_retention_strategy events"
               f" progress_updates"),
        _words("minion_machines events progress_updates"),
    ),
    "pool event": (_words("level created_at message index"), _words("level created_at message index")),
    "diagnostics": (_words("application hostname ip_addresses packages os_info"), frozenset()),
}  # fmt: skip

# Objects inside objects: where they are, and their kind.
WITHIN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "execution": (("tasks", "task"),),
    "execution in a list": (("tasks", "task"),),
    "deployment": (("tasks", "task"),),
    "deployment with info": (("tasks", "task"),),
    "task": (("progress_updates", "progress update"),),
    "storage": (("storage_backends", "network"),),
    "minion pool": (("events", "pool event"),),
}


def key_faults(kind: str, thing: Mapping[str, Json], where: str = "") -> Iterator[str]:
    """What the command line would stumble over."""
    present, not_null = KEYS[kind]
    place = f"{where}{kind}"
    for key in sorted(present - set(thing)):
        yield f"{place} has no {key}"
    for key in sorted(not_null & set(thing)):
        if thing[key] is None:
            yield f"{place}: {key} is null"
    for key, inner in WITHIN.get(kind, ()):
        for each in thing.get(key) or ():
            yield from key_faults(inner, each, f"{place} > ")


def web_faults(thing: Mapping[str, Json]) -> Iterator[str]:
    """What would leave a page of the browser client blank or its lists empty."""
    for rule in (_job_faults, _info_faults, _task_faults, _list_faults):
        yield from rule(thing)


def _job_faults(thing: Mapping[str, Json]) -> Iterator[str]:
    if "last_execution_status" in thing and not thing["last_execution_status"]:
        yield "a status that is null"
    if "instances" in thing and not (thing["instances"] and all(isinstance(one, str) for one in thing["instances"])):
        yield "no instances, or some that are no words"
    for environment in ("source_environment", "destination_environment"):
        if any(value is None for value in (thing.get(environment) or {}).values()):
            yield f"a null inside {environment}"


def _info_faults(thing: Mapping[str, Json]) -> Iterator[str]:
    info = thing.get("info") or {}
    if any(one is None for one in info.values()):
        yield "info of an instance that is null"
    exported = [one["export_info"] for one in info.values() if one and one.get("export_info") is not None]
    if exported and len(exported) != len(info):
        yield "export_info of some instances only"
    if any(not {"disks", "nics"} <= set(one.get("devices") or {}) for one in exported):
        yield "export_info without disks and nics"


def _task_faults(thing: Mapping[str, Json]) -> Iterator[str]:
    for task in thing.get("tasks") or ():
        if not isinstance(task.get("instance"), str):
            yield "a task without an instance"
        if not isinstance(task.get("progress_updates"), list):
            yield "a task without a list of progress updates"
        for update in task.get("progress_updates") or ():
            if not isinstance(update.get("message"), str):
                yield "progress without words"


def _list_faults(thing: Mapping[str, Json]) -> Iterator[str]:
    for name in ("mapped_regions", "minion_machines"):
        if name in thing and not isinstance(thing[name], list):
            yield f"{name} is no list"
