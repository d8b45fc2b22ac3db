# SPDX-License-Identifier: Apache-2.0
"""``coriolis endpoint instance list`` and so on: what is on an endpoint, read from the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from cliff import lister, show
from openstack import exceptions

from coriolis.client.cli.columns import InlineColumn, JsonColumn, details
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.cli.endpoint import add_endpoint, found
from coriolis.client.cli.inputs import json_object


class Seen(ServiceCommand):
    """A command that looks through an endpoint."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        parser.add_argument(
            "--environment",
            type=json_object,
            metavar="JSON|FILE",
            help="options of the provider, where what is shown depends on them",
        )
        return parser


class InstanceList(Seen, lister.Lister):
    """List the virtual machines that an endpoint shows."""

    examples = ("endpoint instance list old --name web --limit 50", "endpoint instance list old --long --refresh")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", help="only those whose name contains this")
        parser.add_argument("--limit", type=int, metavar="N", help="at most so many; all when left out")
        parser.add_argument("--marker", metavar="ID", help="those after this one")
        parser.add_argument("--refresh", action="store_true", help="ask the platform, not a cache")
        parser.add_argument("--long", action="store_true", help="with flavor and firmware")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        query = {name: getattr(parsed_args, name) for name in ("name", "marker", "refresh")}
        query = {name: value for name, value in query.items() if value}
        if parsed_args.limit is not None:
            query |= {"limit": parsed_args.limit, "paginated": False}
        endpoint = found(self.service, parsed_args.endpoint)
        seen = self.service.endpoint_instances(endpoint, environment=parsed_args.environment, **query)
        columns = ("ID", "Name", "CPUs", "Memory MiB", "OS")
        if not parsed_args.long:
            return columns, ((i.id, i.name, i.num_cpu, i.memory_mb, i.os_type) for i in seen)
        rows = ((i.id, i.name, i.num_cpu, i.memory_mb, i.os_type, i.flavor_name, i.firmware_type) for i in seen)
        return (*columns, "Flavor", "Firmware"), rows


class InstanceShow(Seen, show.ShowOne):
    """Show the hardware of a virtual machine."""

    examples = ("endpoint instance show old web1",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("instance", metavar="INSTANCE", help="name or id of the virtual machine")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        instance = self.service.get_endpoint_instance(
            found(self.service, parsed_args.endpoint), parsed_args.instance, environment=parsed_args.environment
        )
        return details(instance, ("id", "name", "num_cpu", "memory_mb", "os_type", "firmware_type", "devices"))


class NetworkList(Seen, lister.Lister):
    """List the networks that an endpoint shows."""

    examples = ("endpoint network list new",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        seen = self.service.endpoint_networks(endpoint, environment=parsed_args.environment)
        return ("ID", "Name"), ((n.id, n.name) for n in seen)


class StorageList(Seen, lister.Lister):
    """List the storage that an endpoint shows."""

    examples = ("endpoint storage list new",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        seen = self.service.endpoint_storage(endpoint, environment=parsed_args.environment)
        return ("ID", "Name", "Properties"), (
            (s.id, s.name, JsonColumn(s.additional_provider_properties)) for s in seen
        )


class OptionList(Seen, lister.Lister):
    """List what can be chosen for the fields of an environment."""

    kind: ClassVar[str]

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--option", action="append", default=[], dest="options", metavar="FIELD", help="this one; may be repeated"
        )
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        options = self.service.endpoint_options(
            found(self.service, parsed_args.endpoint),
            self.kind,
            environment=parsed_args.environment,
            names=parsed_args.options,
        )
        return ("Name", "Values", "Default"), (
            (o.name, ValuesColumn(list(o.values)), ValueColumn(o.config_default)) for o in options
        )


class ValueColumn(JsonColumn):
    """A value, or the name of a thing with name and id."""

    def human_readable(self) -> str:
        return _name(self._value)


class ValuesColumn(InlineColumn):
    def human_readable(self) -> str:
        return ", ".join(_name(value) for value in self._value)


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name") or value.get("id") or value)
    return "" if value is None else str(value)


class SourceOptionList(OptionList):
    """List what can be chosen for the fields of a source environment."""

    kind = "source"
    examples = ("endpoint source option list old",)


class DestinationOptionList(OptionList):
    """List what can be chosen for the fields of a destination environment."""

    kind = "destination"
    examples = ("endpoint destination option list new --option network --environment environment.json",)


class SourcePoolOptionList(OptionList):
    """List what can be chosen for the fields of the environment of a source minion pool."""

    kind = "source minion pool"
    examples = ("endpoint source minion pool option list old",)


class DestinationPoolOptionList(OptionList):
    """List what can be chosen for the fields of the environment of a destination minion pool."""

    kind = "destination minion pool"
    examples = ("endpoint destination minion pool option list new",)


class InventoryExport(Seen):
    """Write all virtual machines of an endpoint with their hardware as CSV."""

    examples = ("endpoint inventory export old", "endpoint inventory export old --file machines.csv")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--file", type=Path, metavar="FILE", help="write there, not to standard output")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        endpoint = found(self.service, parsed_args.endpoint)
        text = self.service.endpoint_inventory(endpoint, environment=parsed_args.environment)
        if not parsed_args.file:
            self.app.stdout.write(text)
            return
        try:
            parsed_args.file.write_text(text)
        except OSError as error:
            raise exceptions.SDKException(f"{parsed_args.file} cannot be written: {error.strerror}") from error
