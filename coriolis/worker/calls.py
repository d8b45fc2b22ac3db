# SPDX-License-Identifier: Apache-2.0
"""Provider calls that belong to no task: the API's questions to a platform, answered in a child."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from coriolis.domain.codec import from_json
from coriolis.domain.errors import Invalid, Unsupported
from coriolis.domain.model import Json
from coriolis.providers.api import Connection, Context, Instance, OptionsOf, ProviderError, Purpose, Unavailable
from coriolis.rpc.messages import ProviderCall

Arguments = dict[str, Any]
CHECK = "check"
Operation = Callable[[Connection, Arguments, Context], Any]


def carry_out(call: ProviderCall, connect: Callable[[], Connection], context: Context) -> Json:
    """The operation's records. :raises Invalid: no such operation. :raises Unsupported: not by this provider"""
    operation = OPERATIONS.get(call.operation)
    if operation is None:
        raise Invalid(f"There is no provider operation '{call.operation}'.")
    return operation(connect(), call.arguments, context)


def _check(connection: Connection, arguments: Arguments, context: Context) -> None:
    connection.check(context)


def _list_instances(connection: Connection, arguments: Arguments, context: Context) -> Any:
    return _part(connection, "inventory").list_instances(
        arguments.get("environment") or {},
        marker=arguments.get("marker"),
        limit=arguments.get("limit"),
        name=arguments.get("name"),
        context=context,
    )


def _get_instance(connection: Connection, arguments: Arguments, context: Context) -> Any:
    name = arguments.get("name")
    if not isinstance(name, str):
        raise Invalid("Name the instance.", field="name")
    return _part(connection, "inventory").get_instance(arguments.get("environment") or {}, name, context)


def _list_networks(connection: Connection, arguments: Arguments, context: Context) -> Any:
    return _part(connection, "networks").list_networks(arguments.get("environment") or {}, context)


def _list_storage(connection: Connection, arguments: Arguments, context: Context) -> Any:
    return _part(connection, "storage").list_storage(arguments.get("environment") or {}, context)


def _list_options(connection: Connection, arguments: Arguments, context: Context) -> Any:
    of = OptionsOf(arguments["of"])
    return _part(connection, "options").list_options(
        of, arguments.get("environment") or {}, arguments.get("names"), context
    )


def _export_inventory(connection: Connection, arguments: Arguments, context: Context) -> Any:
    """Every instance, as whole as the platform gives it: one that cannot be read does not hide the others."""
    environment = arguments.get("environment") or {}
    inventory = _part(connection, "inventory")
    lines = []
    for summary in inventory.list_instances(environment, marker=None, limit=None, name=None, context=context):
        context.check_cancelled()
        instance, problem = None, None
        try:
            instance = inventory.get_instance(environment, summary.id, context)
        except Unavailable:
            raise
        except ProviderError as error:
            problem = error.message
        lines.append({"summary": summary, "instance": instance, "problem": problem})
    return lines


def _assess(connection: Connection, arguments: Arguments, context: Context) -> Any:
    """A machine, and what stands in the way of reading it."""
    instance = _get_instance(connection, arguments, context)
    planning = connection.planning
    environment = arguments.get("environment") or {}
    concerns = planning.check_source(instance, environment, context) if planning is not None else []
    return {"instance": instance, "concerns": concerns}


def _plan(connection: Connection, arguments: Arguments, context: Context) -> Any:
    """What the destination would make of a machine."""
    return _part(connection, "planning").plan(
        from_json(Instance, arguments["instance"]),
        arguments.get("environment") or {},
        arguments.get("network_map") or {},
        arguments.get("storage_mappings") or {},
        dataclasses.replace(
            context,
            purpose=Purpose(arguments.get("purpose", Purpose.MIGRATE)),
            present=frozenset(arguments.get("present") or ()),
        ),
    )


def _part(connection: Connection, capability: str) -> Any:
    part = getattr(connection, capability, None)
    if part is None:
        raise Unsupported(f"The provider cannot do this: it has no '{capability}'.")
    return part


OPERATIONS: dict[str, Operation] = {
    CHECK: _check,
    "list_instances": _list_instances,
    "get_instance": _get_instance,
    "list_networks": _list_networks,
    "list_storage": _list_storage,
    "list_options": _list_options,
    "export_inventory": _export_inventory,
    "assess": _assess,
    "plan": _plan,
}
