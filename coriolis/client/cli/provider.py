# SPDX-License-Identifier: Apache-2.0
"""``coriolis provider ...``"""

from __future__ import annotations

import json
from typing import Any

from cliff import lister

from coriolis.client.cli.columns import InlineColumn
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.provider import SCHEMAS


class List(ServiceCommand, lister.Lister):
    """List the platform types that the service can talk to."""

    examples = ("provider list",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return ("Name", "Can"), ((p.name, InlineColumn(p.parts)) for p in self.service.providers())


class SchemaShow(ServiceCommand):
    """Print the JSON schema of a provider's form."""

    examples = ("provider schema show libvirt connection", "provider schema show libvirt destination")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("provider", help="name of the provider")
        parser.add_argument("form", choices=sorted(SCHEMAS), help="which form")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        schema = self.service.provider_schema(parsed_args.provider, parsed_args.form)
        self.app.stdout.write(json.dumps(schema, indent=2) + "\n")
