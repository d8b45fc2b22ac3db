# SPDX-License-Identifier: Apache-2.0
"""``coriolis service ...`` and ``coriolis diagnostics ...``: the workers, and what the service runs on."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import lister, show

from coriolis.client.cli.columns import InlineColumn, JsonColumn, details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand
from coriolis.client.cli.endpoint import add_regions, given_regions
from coriolis.client.cli.job import found, given

SHOWN = (
    "id",
    "host",
    "binary",
    "topic",
    "enabled",
    "status",
    "mapped_regions",
    "providers",
    "specs",
    "created_at",
    "updated_at",
)


def _add_parts(parser: Any) -> None:
    parser.add_argument("--enabled", action=argparse.BooleanOptionalAction, help="whether it gets new work")
    add_regions(parser)


def _add_service(parser: Any) -> None:
    parser.add_argument("service", metavar="SERVICE", help="host or id of the service")


class Create(ServiceCommand, show.ShowOne):
    """Register a worker that runs already."""

    examples = ("service create --host worker7 --region Berlin",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", required=True, help="host on which it runs")
        parser.add_argument("--binary", default="coriolis-worker", help="program (default coriolis-worker)")
        parser.add_argument("--topic", default="coriolis_worker", help="queue (default coriolis_worker)")
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        body = given(parsed_args, "host", "binary", "topic", "enabled") | given_regions(self.service, parsed_args)
        return details(self.service.create_service(**body), SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change where a worker stands, or whether it gets new work."""

    examples = ("service set worker7 --no-enabled", "service set worker7 --region Berlin --region Potsdam")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_service(parser)
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = found(self.service.find_service, parsed_args.service)
        body = given(parsed_args, "enabled") | given_regions(self.service, parsed_args)
        return details(self.service.update_service(service, **body), SHOWN)


class List(PageLister):
    """List the workers."""

    examples = ("service list --long",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="with providers, regions and times")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        services = self.service.services(**self.page(parsed_args))
        columns = ("ID", "Host", "Binary", "Enabled", "Status")
        if not parsed_args.long:
            return columns, ((s.id, s.host, s.binary, s.enabled, s.status) for s in services)
        return (*columns, "Topic", "Providers", "Regions", "Created", "Updated"), (
            (
                s.id,
                s.host,
                s.binary,
                s.enabled,
                s.status,
                s.topic,
                InlineColumn(sorted(s.providers or ())),
                InlineColumn(s.mapped_regions),
                s.created_at,
                s.updated_at,
            )
            for s in services
        )


class Show(ServiceCommand, show.ShowOne):
    """Show a worker."""

    examples = ("service show worker7",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_service(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(found(self.service.find_service, parsed_args.service), SHOWN)


class Delete(ForEach):
    """Forget workers that are gone."""

    noun = "service"
    examples = ("service delete worker7",)

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_service(found(self.service.find_service, thing), ignore_missing=False)


class DiagnosticsList(ServiceCommand, lister.Lister):
    """List what the processes of the service run on."""

    examples = ("diagnostics list", "diagnostics list --long -f json")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="with packages and addresses")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        columns: tuple[str, ...] = ("Application", "Host", "Release", "OS")
        fields: tuple[str, ...] = ("application", "hostname", "release_tag", "os_info")
        if parsed_args.long:
            columns += ("Addresses", "Packages")
            fields += ("ip_addresses", "packages")
        rows = ([_cell(entry.entry.get(field)) for field in fields] for entry in self.service.diagnostics())
        return columns, rows


def _cell(value: Any) -> Any:
    return JsonColumn(value) if isinstance(value, (dict, list)) else value
