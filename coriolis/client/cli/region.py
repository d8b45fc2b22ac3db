# SPDX-License-Identifier: Apache-2.0
"""``coriolis region ...``"""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from coriolis.client.cli.columns import details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand
from coriolis.client.cli.job import found, given

SHOWN = ("id", "name", "description", "enabled", "mapped_endpoints", "mapped_services", "created_at", "updated_at")


def _add_parts(parser: Any) -> None:
    parser.add_argument("--description", help="for people")
    parser.add_argument("--enabled", action=argparse.BooleanOptionalAction, help="whether work is placed there")


class Create(ServiceCommand, show.ShowOne):
    """Create a region: a place where workers stand."""

    examples = ("region create Berlin --description 'The cellar'",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the region")
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        region = self.service.create_region(**given(parsed_args, "name", "description", "enabled"))
        return details(region, SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change a region."""

    examples = ("region set Berlin --name Potsdam", "region set Berlin --no-enabled")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="REGION", help="name or id of the region")
        parser.add_argument("--name", help="new name")
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        region = found(self.service.find_region, parsed_args.region)
        changed = self.service.update_region(region, **given(parsed_args, "name", "description", "enabled"))
        return details(changed, SHOWN)


class List(PageLister):
    """List regions."""

    examples = ("region list",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        regions = self.service.regions(**self.page(parsed_args))
        return ("ID", "Name", "Enabled", "Description"), ((r.id, r.name, r.enabled, r.description) for r in regions)


class Show(ServiceCommand, show.ShowOne):
    """Show a region with its endpoints and services."""

    examples = ("region show Berlin",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="REGION", help="name or id of the region")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(found(self.service.find_region, parsed_args.region), SHOWN)


class Delete(ForEach):
    """Delete regions."""

    noun = "region"
    examples = ("region delete Berlin Potsdam",)

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_region(found(self.service.find_region, thing), ignore_missing=False)
