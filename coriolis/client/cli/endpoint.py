# SPDX-License-Identifier: Apache-2.0
"""``coriolis endpoint create`` and so on; what is on an endpoint is in ``inventory``."""

from __future__ import annotations

from typing import Any, cast

from cliff import show

from coriolis.client.cli.columns import InlineColumn, details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand
from coriolis.client.cli.inputs import json_object
from coriolis.client.endpoint import Endpoint
from coriolis.client.proxy import Proxy

SHOWN = ("id", "name", "type", "description", "connection_info", "mapped_regions", "created_at", "updated_at")


def add_endpoint(parser: Any) -> None:
    parser.add_argument("endpoint", metavar="ENDPOINT", help="name or id of the endpoint")


def found(service: Proxy, name_or_id: str) -> Endpoint:
    """:raises openstack.exceptions.SDKException: none, or several of that name"""
    return cast(Endpoint, service.find_endpoint(name_or_id))


def add_regions(parser: Any) -> None:
    regions = parser.add_mutually_exclusive_group()
    regions.add_argument(
        "--region", action="append", dest="regions", metavar="REGION", help="region, by name or id; may be repeated"
    )
    regions.add_argument("--no-region", action="store_const", const=[], dest="regions", help="of no region")


def given_regions(service: Proxy, parsed_args: Any) -> dict[str, Any]:
    """The ids of the regions that were given, if any were."""
    if parsed_args.regions is None:
        return {}
    return {"mapped_regions": [service.find_region(name, ignore_missing=False).id for name in parsed_args.regions]}  # type: ignore[union-attr]


class EndpointParts:
    """The arguments that create and set share."""

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
        add_regions(parser)

    @staticmethod
    def given(service: Proxy, parsed_args: Any) -> dict[str, Any]:
        info = parsed_args.connection_info
        if parsed_args.connection_secret:
            info = {"secret_ref": parsed_args.connection_secret}
        values = {"name": parsed_args.name, "description": parsed_args.description, "connection_info": info}
        values = {key: value for key, value in values.items() if value is not None}
        return values | given_regions(service, parsed_args)


class Create(ServiceCommand, show.ShowOne):
    """Create an endpoint, and check that the platform answers."""

    examples = (
        "endpoint create --name here --type libvirt --connection-info libvirt.json",
        (
            "endpoint create --name cloud --type openstack --region Berlin"
            " --connection-secret https://barbican.example.org/v1/secrets/8f3e2b1c-6c4d-4e6f-9a7b-0c1d2e3f4a5b"
        ),
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        EndpointParts.add(parser, required=True)
        parser.add_argument("--type", required=True, dest="provider", help="provider, see the command 'provider list'")
        parser.add_argument("--skip-validation", action="store_true", help="do not try to connect")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        endpoint = service.create_endpoint(type=parsed_args.provider, **EndpointParts.given(service, parsed_args))
        if not parsed_args.skip_validation:
            valid, why = service.validate_endpoint(endpoint)
            if not valid:
                self.app.stderr.write(f"Warning: the endpoint is stored, but does not answer: {why}\n")
        return details(endpoint, SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change an endpoint. Secrets that are sent as *** stay as they are."""

    examples = ("endpoint set here --name there --description 'The new cloud'",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        EndpointParts.add(parser, required=False)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        endpoint = found(self.service, parsed_args.endpoint)
        changed = self.service.update_endpoint(endpoint, **EndpointParts.given(self.service, parsed_args))
        return details(changed, SHOWN)


class List(PageLister):
    """List endpoints, newest first."""

    examples = ("endpoint list --long",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="with regions and times")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        found = self.service.endpoints(**self.page(parsed_args))
        columns = ("ID", "Name", "Type", "Description")
        if not parsed_args.long:
            return columns, ((e.id, e.name, e.type, e.description) for e in found)
        rows = (
            (e.id, e.name, e.type, e.description, InlineColumn(e.mapped_regions), e.created_at, e.updated_at)
            for e in found
        )
        return (*columns, "Regions", "Created", "Updated"), rows


class Show(ServiceCommand, show.ShowOne):
    """Show an endpoint; secrets are masked."""

    examples = ("endpoint show here",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(found(self.service, parsed_args.endpoint), SHOWN)


class Delete(ForEach):
    """Delete endpoints that nothing uses."""

    noun = "endpoint"
    examples = ("endpoint delete here there",)

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_endpoint(found(self.service, thing), ignore_missing=False)


class Validate(ServiceCommand):
    """Check that the platform answers and takes the credentials. Exit status 1 if not."""

    examples = ("endpoint validate here",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_endpoint(parser)
        return parser

    def take_action(self, parsed_args: Any) -> int:
        valid, why = self.service.validate_endpoint(found(self.service, parsed_args.endpoint))
        self.app.stdout.write("valid\n" if valid else f"not valid: {why}\n")
        return 0 if valid else 1
