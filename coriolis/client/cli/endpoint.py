# SPDX-License-Identifier: Apache-2.0
"""``coriolis endpoint ...``"""

from __future__ import annotations

from typing import Any, cast

from cliff import lister, show
from cliff.columns import FormattableColumn

from coriolis.client.cli.inputs import json_object
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.endpoint import Endpoint
from coriolis.client.proxy import Proxy


class JsonColumn(FormattableColumn[Any]):
    """Structured data: as it is for machines, ``key='value'`` lines for people."""

    def human_readable(self) -> str:
        value = self._value
        if isinstance(value, dict):
            return "\n".join(f"{key}={item!r}" for key, item in value.items())
        if isinstance(value, (list, tuple)):
            return "\n".join(str(item) for item in value)
        return "" if value is None else str(value)


def add_endpoint(parser: Any) -> None:
    parser.add_argument("endpoint", metavar="ENDPOINT", help="name or id of the endpoint")


def found(service: Proxy, name_or_id: str) -> Endpoint:
    """:raises openstack.exceptions.SDKException: none, or several of that name"""
    return cast(Endpoint, service.find_endpoint(name_or_id))


def shown(endpoint: Any) -> tuple[Any, Any]:
    names = ("id", "name", "type", "description", "connection_info", "created_at", "updated_at")
    values = (getattr(endpoint, name) for name in names)
    return names, [JsonColumn(v) if isinstance(v, (dict, list)) else v for v in values]


class EndpointParts:
    """The arguments that create and update share."""

    @staticmethod
    def add(parser: Any, *, required: bool) -> None:
        parser.add_argument("--name", required=required, help="name of the endpoint")
        parser.add_argument("--description", help="for people")
        connection = parser.add_mutually_exclusive_group(required=required)
        connection.add_argument(
            "--connection-info",
            type=json_object,
            metavar="JSON|FILE|-",
            help="how to reach the platform: a file with a JSON object, '-' for standard input, or the object itself. "
            "Keep secrets in a file: other users of this host can see arguments",
        )
        connection.add_argument(
            "--connection-secret", metavar="REF", help="Barbican reference of a secret that holds the connection info"
        )

    @staticmethod
    def given(parsed_args: Any) -> dict[str, Any]:
        info = parsed_args.connection_info
        if parsed_args.connection_secret:
            info = {"secret_ref": parsed_args.connection_secret}
        values = {"name": parsed_args.name, "description": parsed_args.description, "connection_info": info}
        return {key: value for key, value in values.items() if value is not None}


class Create(ServiceCommand, show.ShowOne):
    """Create an endpoint, and check that the platform answers."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        EndpointParts.add(parser, required=True)
        parser.add_argument("--type", required=True, dest="provider", help="provider, see 'coriolis provider list'")
        parser.add_argument("--skip-validation", action="store_true", help="do not try to connect")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        endpoint = service.create_endpoint(type=parsed_args.provider, **EndpointParts.given(parsed_args))
        if not parsed_args.skip_validation:
            valid, why = service.validate_endpoint(endpoint)
            if not valid:
                self.app.stderr.write(f"Warning: the endpoint is stored, but does not answer: {why}\n")
        return shown(endpoint)


class Set(ServiceCommand, show.ShowOne):
    """Change an endpoint."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        EndpointParts.add(parser, required=False)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        return shown(self.service.update_endpoint(endpoint, **EndpointParts.given(parsed_args)))


class List(ServiceCommand, lister.Lister):
    """List endpoints, newest first."""

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        rows = [(e.id, e.name, e.type, e.description) for e in self.service.endpoints()]
        return ("ID", "Name", "Type", "Description"), rows


class Show(ServiceCommand, show.ShowOne):
    """Show an endpoint; secrets are masked."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return shown(found(self.service, parsed_args.endpoint))


class Delete(ServiceCommand):
    """Delete endpoints."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("endpoints", metavar="ENDPOINT", nargs="+", help="names or ids")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        for name in parsed_args.endpoints:
            self.service.delete_endpoint(found(self.service, name), ignore_missing=False)


class Validate(ServiceCommand):
    """Check that the platform answers and takes the credentials. Exit status 1 if not."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> int:
        valid, why = self.service.validate_endpoint(found(self.service, parsed_args.endpoint))
        self.app.stdout.write("valid\n" if valid else f"not valid: {why}\n")
        return 0 if valid else 1


class InstanceList(ServiceCommand, lister.Lister):
    """List the virtual machines that an endpoint shows."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        parser.add_argument("--name", help="only those whose name contains this")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        query = {"name": parsed_args.name} if parsed_args.name else {}
        endpoint = found(self.service, parsed_args.endpoint)
        rows = [
            (i.id, i.name, i.num_cpu, i.memory_mb, i.os_type)
            for i in self.service.endpoint_instances(endpoint, **query)
        ]
        return ("ID", "Name", "CPUs", "Memory MiB", "OS"), rows


class InstanceShow(ServiceCommand, show.ShowOne):
    """Show the hardware of a virtual machine."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        parser.add_argument("instance", metavar="INSTANCE", help="name or id of the virtual machine")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        instance = self.service.get_endpoint_instance(endpoint, parsed_args.instance)
        names = ("id", "name", "num_cpu", "memory_mb", "os_type", "firmware_type", "devices")
        return names, [JsonColumn(v) if isinstance(v, dict) else v for v in (getattr(instance, n) for n in names)]


class NetworkList(ServiceCommand, lister.Lister):
    """List the networks that an endpoint shows."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        return ("ID", "Name"), [(n.id, n.name) for n in self.service.endpoint_networks(endpoint)]


class StorageList(ServiceCommand, lister.Lister):
    """List the storage that an endpoint shows."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        rows = [
            (s.id, s.name, JsonColumn(s.additional_provider_properties))
            for s in self.service.endpoint_storage(endpoint)
        ]
        return ("ID", "Name", "Properties"), rows
