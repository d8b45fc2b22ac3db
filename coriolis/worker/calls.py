# SPDX-License-Identifier: Apache-2.0
"""Provider calls that belong to no task: the API's questions to a platform, answered in a child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coriolis.domain.errors import Invalid, Unsupported
from coriolis.domain.model import Json
from coriolis.providers.api import Connection, Context
from coriolis.rpc.messages import ProviderCall

Arguments = dict[str, Any]
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


def _part(connection: Connection, capability: str) -> Any:
    part = getattr(connection, capability)
    if part is None:
        raise Unsupported(f"The provider cannot do this: it has no '{capability}'.")
    return part


OPERATIONS: dict[str, Operation] = {
    "check": _check,
    "list_instances": _list_instances,
    "get_instance": _get_instance,
    "list_networks": _list_networks,
    "list_storage": _list_storage,
}
