# SPDX-License-Identifier: Apache-2.0
"""Arguments that migrations, transfers and deployments share, and following one until its end."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from openstack import exceptions

from coriolis.client.cli import live
from coriolis.client.cli.columns import AmountColumn, ConcernColumn, StepsColumn, WaysColumn
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.cli.inputs import json_object, pair, script, scripts
from coriolis.client.plan import Plan
from coriolis.client.proxy import Proxy
from coriolis.client.record import words

JSON = "JSON|FILE"


def add_endpoints(parser: Any, *, required: bool) -> None:
    for side, what in (("origin", "source"), ("destination", "destination")):
        parser.add_argument(
            f"--{side}-endpoint", required=required, metavar="ENDPOINT", help=f"{what} platform, by name or id"
        )


def add_instances(parser: Any) -> None:
    parser.add_argument(
        "--instance",
        action="append",
        required=True,
        dest="instances",
        metavar="NAME",
        help="virtual machine to move, by name or id; may be repeated",
    )


def add_mappings(parser: Any) -> None:
    """Networks, storage and environments."""
    group = parser.add_argument_group("mappings", "each may be repeated")
    pairs = (
        ("--network", "a source network to a destination network"),
        ("--storage", "a source storage backend to one of the destination"),
        ("--disk-storage", "one disk, by its id, to a storage backend of the destination"),
    )
    for option, what in pairs:
        group.add_argument(option, action="append", type=pair, default=[], metavar="SOURCE=DESTINATION", help=what)
    group.add_argument("--default-storage", metavar="BACKEND", help="destination storage of every other disk")
    parser.add_argument("--network-map", type=json_object, metavar=JSON, help="all networks as one object")
    parser.add_argument("--storage-mappings", type=json_object, metavar=JSON, help="all storage as one object")
    parser.add_argument("--source-environment", type=json_object, metavar=JSON, help="options of the source")
    parser.add_argument("--destination-environment", type=json_object, metavar=JSON, help="options of the destination")


def add_scripts(parser: Any) -> None:
    """User scripts and what is done to guests."""
    group = parser.add_argument_group("guests")
    group.add_argument(
        "--skip-os-morphing",
        action=argparse.BooleanOptionalAction,
        help="leave the guest operating system as it is",
    )
    group.add_argument(
        "--user-script-global",
        action="append",
        type=script,
        default=[],
        metavar="OS[:PHASE]=FILE",
        help="script for every guest of that kind (linux, windows ...); without FILE it is removed",
    )
    group.add_argument(
        "--user-script-instance",
        action="append",
        type=script,
        default=[],
        metavar="INSTANCE[:PHASE]=FILE",
        help="script for one guest, instead of the global one; without FILE it is removed",
    )


def add_clones(parser: Any) -> None:
    parser.add_argument(
        "--clone-disks",
        action=argparse.BooleanOptionalAction,
        help="deploy copies of the replicas, so that they can be kept in sync afterwards",
    )


def add_pools(parser: Any, *, sides: bool) -> None:
    group = parser.add_argument_group("minion pools")
    for side in ("origin", "destination") if sides else ():
        group.add_argument(f"--{side}-minion-pool", metavar="POOL", help=f"pool of the {side}, by name or id")
    group.add_argument(
        "--osmorphing-minion-pool",
        action="append",
        type=pair,
        default=[],
        metavar="INSTANCE=POOL",
        help="pool for the morphing of one guest; may be repeated",
    )


def mappings(parsed_args: Any) -> dict[str, Any]:
    """What ``add_mappings`` took, without what was not given."""
    storage = dict(parsed_args.storage_mappings or {})
    if parsed_args.storage:
        more = [{"source": source, "destination": to} for source, to in parsed_args.storage]
        storage["backend_mappings"] = [*storage.get("backend_mappings", ()), *more]
    if parsed_args.disk_storage:
        more = [{"disk_id": disk, "destination": to} for disk, to in parsed_args.disk_storage]
        storage["disk_mappings"] = [*storage.get("disk_mappings", ()), *more]
    if parsed_args.default_storage:
        storage["default"] = parsed_args.default_storage
    body = {
        "network_map": {**(parsed_args.network_map or {}), **dict(parsed_args.network)},
        "storage_mappings": storage,
        "source_environment": parsed_args.source_environment,
        "destination_environment": parsed_args.destination_environment,
    }
    return {key: value for key, value in body.items() if value}


def guests(parsed_args: Any) -> dict[str, Any]:
    """What ``add_scripts`` took, without what was not given."""
    given = {"global": parsed_args.user_script_global, "instances": parsed_args.user_script_instance}
    body: dict[str, Any] = {}
    if any(given.values()):
        body["user_scripts"] = {where: scripts(several) for where, several in given.items()}
    if parsed_args.skip_os_morphing is not None:
        body["skip_os_morphing"] = parsed_args.skip_os_morphing
    return body


def pools(service: Proxy, parsed_args: Any) -> dict[str, Any]:
    """What ``add_pools`` took, as ids, without what was not given."""
    body: dict[str, Any] = {}
    for side in ("origin", "destination"):
        name = getattr(parsed_args, f"{side}_minion_pool", None)
        if name:
            body[f"{side}_minion_pool_id"] = found(service.find_minion_pool, name).id
    if parsed_args.osmorphing_minion_pool:
        body["instance_osmorphing_minion_pool_mappings"] = {
            instance: found(service.find_minion_pool, name).id for instance, name in parsed_args.osmorphing_minion_pool
        }
    return body


def given(parsed_args: Any, *names: str) -> dict[str, Any]:
    """Those of the arguments that were given, under their own names."""
    values = {name: getattr(parsed_args, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def found(find: Callable[..., Any], name_or_id: str) -> Any:
    """:raises openstack.exceptions.SDKException: none, or several of that name"""
    return find(name_or_id, ignore_missing=False)


def followed(wait: Callable[..., Any]) -> Any:
    """Shows the progress until the end. ``wait`` is a proxy's ``wait_for`` method that still wants ``seen``.

    :raises openstack.exceptions.SDKException: it did not complete, or the user has seen enough
    """
    try:
        with live.view() as seen:
            thing = wait(seen=seen)
    except KeyboardInterrupt:
        raise exceptions.SDKException(
            "No longer shown; it goes on. See it again with 'wait', end it with 'cancel'."
        ) from None
    if thing.status != "COMPLETED":
        errors = [
            f"{live.label(task)}: {task['exception_details']}"
            for task in thing.tasks or ()
            if task.get("exception_details")
        ]
        if not errors and thing.message:
            errors = [thing.message]  # it ended before any task began
        name = words(type(thing)).capitalize()
        raise exceptions.SDKException("\n".join([f"{name} {thing.id} ended {thing.status}.", *errors]))
    return thing


def add_wait(parser: Any) -> None:
    parser.add_argument("--wait", action="store_true", help="show the progress until the end; exit 1 if it fails")


def add_start(parser: Any) -> None:
    """Of commands that begin something: look first, or look on."""
    how = parser.add_mutually_exclusive_group()
    add_wait(how)
    how.add_argument("--dry-run", action="store_true", help="ask both platforms what would be done, and make nothing")


def planned(command: ServiceCommand, plan: Plan) -> tuple[Any, Any]:
    """What a command shows of a dry run; the program ends with 1 where it would be refused."""
    command.status = 0 if plan.possible else 1
    names = ("possible", "size_bytes", "recipe", "concerns", "disks", "networks", "tasks")
    return names, (
        plan.possible,
        AmountColumn(plan.size_bytes),
        plan.recipe,
        ConcernColumn([dataclasses.asdict(one) for one in plan.concerns]),
        WaysColumn(_each(plan, "disks"), "disk_id"),
        WaysColumn(_each(plan, "networks"), "nic_id"),
        StepsColumn({one["instance"]: [task["name"] for task in one["tasks"]] for one in plan.instances}),
    )


def _each(plan: Plan, what: str) -> dict[str, Any]:
    return {one["instance"]: one[what] for one in plan.instances}
