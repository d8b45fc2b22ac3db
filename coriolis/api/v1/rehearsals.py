# SPDX-License-Identifier: Apache-2.0
"""Dry runs: everything that can be known of a job before it runs. Both platforms are asked, nothing is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.delegation import lent
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.commands import deployments, migrations
from coriolis.commands.deployments import NewDeployment
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.errors import CoriolisError, Invalid
from coriolis.domain.model import Role
from coriolis.domain.recipe import SEEDS, Recipe
from coriolis.domain.recipes.migrate import choose
from coriolis.rpc import messages
from coriolis.store import actions, endpoints, replicas
from coriolis.store.engine import DatabaseAway
from coriolis.store.rows import Endpoint

Json = Any

AT_MOST = 50  # instances of one dry run: it is answered while the caller waits
_AT_ONCE = 4
NOBODY = "00000000-0000-0000-0000-000000000000"  # id of what is not stored


@dataclass(frozen=True, kw_only=True)
class _End:
    """One side, as the job would use it."""

    platform: str
    endpoint: messages.Endpoint
    regions: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is rehearsed. ``known``: machines that need not be looked up, by instance."""

    origin: _End
    destination: _End
    source_environment: Mapping[str, Json]
    destination_environment: Mapping[str, Json]
    network_map: Mapping[str, Json]
    storage_mappings: Mapping[str, Json]
    purpose: str
    recipe: Recipe
    options: Options
    known: Mapping[str, Json] = field(default_factory=dict)
    present: bool = False  # the volumes are there already


def migration(order: NewMigration, request: ApiRequest, services: Services) -> Json:
    """What ``order`` would do. :raises Invalid: too many instances. :raises Unavailable: no worker for a platform"""
    ends = [_end_of(account, request, services) for account in (order.origin, order.destination)]
    platforms = _platforms(ends, services)
    refused = _refusal(lambda conn: migrations.draft(conn, services.db, request.caller, order, key=NOBODY), services)
    job = _Job(
        origin=ends[0],
        destination=ends[1],
        source_environment=order.source_environment,
        destination_environment=order.destination_environment,
        network_map=order.network_map,
        storage_mappings=order.storage_mappings,
        purpose="migrate",
        recipe=choose(*platforms),
        options=Options(rounds=order.replication_count, shutdown=order.shutdown_instances),
    )
    return _answer(job, order.instances, platforms, refused, request, services)


def deployment(order: NewDeployment, request: ApiRequest, services: Services) -> Json:
    """What ``order`` would do. :raises NotFound: no such transfer"""
    with services.db.reader() as conn:
        transfer = actions.get(conn, order.transfer_id, request.caller.scope, actions.TRANSFER)
        machines = replicas.of_transfer(conn, transfer.id)
        busy = actions.open_runs(conn, transfer.id)
    general = [_concern("transfer", "transfer.busy", f"Its {run.type} {run.id} is {run.state}.") for run in busy]
    general += _refusal(
        lambda conn: deployments.check_replicas(conn, transfer, force=order.force), services, "transfer"
    )
    now = services.db.utcnow()
    general += _refusal(lambda conn: deployments.draft(conn, request.caller, transfer, order, NOBODY, now), services)
    ends = [_end_of(key, request, services) for key in (transfer.origin_endpoint_id, transfer.destination_endpoint_id)]
    clone = transfer.clone_disks if order.clone_disks is None else order.clone_disks
    recipe = deployments.recipe_of(dataclasses.replace(transfer, clone_disks=clone))
    job = _Job(
        origin=ends[0],
        destination=ends[1],
        source_environment=transfer.source_environment,
        destination_environment=transfer.destination_environment,
        network_map=transfer.network_map,
        storage_mappings=transfer.storage_mappings,
        purpose="deploy",
        recipe=recipe,
        options=Options(seeds=SEEDS),
        known={one.instance: one.vm for one in machines},
        present=not clone,
    )
    return _answer(job, transfer.instances, _platforms(ends, services), general, request, services)


def _answer(
    job: _Job,
    instances: Sequence[str],
    platforms: tuple[Platform, Platform],
    general: list[Json],
    request: ApiRequest,
    services: Services,
) -> Json:
    if len(instances) > AT_MOST:
        raise Invalid(f"A dry run takes at most {AT_MOST} instances, not {len(instances)}: give it some of them")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        lines = list(pool.map(lambda name: _instance(job, name, platforms, request, services), instances))
    general = [*general, *_too_much(line["layout"] for line in lines if line["possible"])]
    return {
        "possible": all(line["possible"] for line in lines) and not any(one["blocking"] for one in general),
        "recipe": job.recipe.name,
        "size_bytes": sum(line["size_bytes"] for line in lines),
        "concerns": general,
        "instances": lines,
    }


def _instance(
    job: _Job, name: str, platforms: tuple[Platform, Platform], request: ApiRequest, services: Services
) -> Json:
    concerns: list[Json] = []
    vm, layout, tasks = job.known.get(name), None, []
    if vm is None and job.purpose == "migrate":
        arguments = {"name": name, "environment": dict(job.source_environment)}
        found = _asked(job.origin, "assess", "source", arguments, concerns, request, services) or {}
        vm = found.get("instance")
        concerns += [{"side": "source", **concern} for concern in found.get("concerns", ())]
    if vm is not None:
        arguments = {
            "instance": vm,
            "environment": dict(job.destination_environment),
            "network_map": dict(job.network_map),
            "storage_mappings": dict(job.storage_mappings),
            "purpose": job.purpose,
            "present": [disk["id"] for disk in vm["devices"]["disks"]] if job.present else [],
        }
        layout = _asked(job.destination, "plan", "destination", arguments, concerns, request, services)
        concerns += [{"side": "destination", **concern} for concern in (layout or {}).get("concerns", ())]
    try:
        graph = compile_instance(
            job.recipe,
            execution_id="",
            instance=name,
            source=platforms[0],
            destination=platforms[1],
            options=job.options,
        )
        tasks = [{"name": task.name, "task_type": task.type} for task in graph if task.role is Role.WORK]
    except CoriolisError as error:
        concerns.append(_concern("service", error.code, error.message))
    return {
        "instance": name,
        "possible": layout is not None and not any(concern["blocking"] for concern in concerns),
        "size_bytes": sum(disk["size_bytes"] for disk in vm["devices"]["disks"]) if vm else 0,
        "concerns": concerns,
        "export_info": vm,
        "layout": layout,
        "disks": _disks(vm, layout),
        "networks": _networks(vm, layout),
        "tasks": tasks,
    }


def _too_much(layouts: Iterable[Json]) -> list[Json]:
    """What each of the instances could have, and not all of them together."""
    needed: dict[str, list[Json]] = {}
    for layout in layouts:
        for need in layout.get("needs", ()):
            needed.setdefault(need["name"], []).append(need)
    concerns = []
    for name, needs in sorted(needed.items()):
        count, free = sum(need["count"] for need in needs), min(need["free"] for need in needs)
        if count > free:
            wanted, there = (f"{number} {needs[0]['unit']}".strip() for number in (count, free))
            told = f"{name}: {wanted} needed by {len(needs)} instances together, {there} free"
            message = f"{told}; free some, raise it, or take fewer instances at once"
            concerns.append(_concern("destination", "destination.room", message))
    return concerns


def _disks(vm: Json, layout: Json) -> list[Json]:
    planned = {disk["disk_id"]: disk for disk in (layout or {}).get("disks", ())}
    return [
        {
            "disk_id": disk["id"],
            "size_bytes": disk["size_bytes"],
            "source": disk.get("storage_backend_identifier"),
            "destination": planned.get(disk["id"], {}).get("storage"),
        }
        for disk in (vm["devices"]["disks"] if vm else ())
    ]


def _networks(vm: Json, layout: Json) -> list[Json]:
    planned = {nic["nic_id"]: nic for nic in (layout or {}).get("nics", ())}
    return [
        {
            "nic_id": nic["id"],
            "mac_address": nic.get("mac_address"),
            "source": nic["network_name"],
            "destination": planned.get(nic["id"], {}).get("network"),
        }
        for nic in (vm["devices"]["nics"] if vm else ())
    ]


def _asked(
    end: _End,
    operation: str,
    side: str,
    arguments: dict[str, Json],
    concerns: list[Json],
    request: ApiRequest,
    services: Services,
) -> Json:
    """The worker's answer; what it refuses is a blocking concern."""
    try:
        return services.catalogue.call(
            end.platform,
            operation,
            f"The {side}",
            endpoint=end.endpoint,
            arguments=arguments,
            regions=end.regions,
            request_id=request.context.request_id,
        )
    except CoriolisError as error:
        concerns.append(_concern(side, error.code, error.message))
        return None


def _refusal(check: Callable[[Connection], object], services: Services, side: str = "service") -> list[Json]:
    """Why the job would not be accepted, if it would not."""
    try:
        with services.db.reader() as conn:
            check(conn)
    except DatabaseAway:
        raise
    except CoriolisError as error:
        return [_concern(side, error.code, error.message)]
    return []


def _concern(side: str, code: str, message: str) -> Json:
    return {"side": side, "code": code, "message": message, "blocking": True}


def _end_of(account: str | NewEndpoint, request: ApiRequest, services: Services) -> _End:
    if isinstance(account, NewEndpoint):
        row: NewEndpoint | Endpoint = account
    else:
        with services.db.reader() as conn:
            row = endpoints.get(conn, account, request.caller.scope)
    return _End(platform=row.type, endpoint=lent(row, request, services), regions=tuple(row.mapped_regions))


def _platforms(ends: Sequence[_End], services: Services) -> tuple[Platform, Platform]:
    for end in ends:
        services.catalogue.require(end.platform, "type")
    known = services.catalogue.providers()
    source, destination = (Platform(end.platform, known[end.platform]) for end in ends)
    return source, destination
