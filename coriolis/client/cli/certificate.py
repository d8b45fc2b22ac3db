# SPDX-License-Identifier: Apache-2.0
"""``coriolis certificate show``, ``download`` and ``key show``; ``verify`` needs no service and is elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cliff import command, show
from openstack import exceptions

from coriolis.client.cli.columns import JsonColumn
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.proxy import Proxy


def _add_job(parser: Any) -> None:
    parser.add_argument("job", metavar="ID", help="id of a migration, a deployment, or a transfer with --execution")
    parser.add_argument("--execution", metavar="ID", help="execution of the transfer")


def _fetch(service: Proxy, parsed_args: Any) -> dict[str, Any]:
    """:raises openstack.exceptions.SDKException: there is none"""
    if parsed_args.execution:
        return service.transfer_execution_certificate(parsed_args.job, parsed_args.execution)
    try:
        return service.migration_certificate(parsed_args.job)
    except exceptions.NotFoundException:
        return service.deployment_certificate(parsed_args.job)


class Show(ServiceCommand, show.ShowOne):
    """Show the signed integrity certificate of a job."""

    examples = ("certificate show 0b5ec9f1-1f2b-4b7e-8a3e-3d2f1f3f7c11 -f json",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_job(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        told = _fetch(self.service, parsed_args)
        return tuple(told), [JsonColumn(value) if isinstance(value, dict | list) else value for value in told.values()]


class Download(ServiceCommand, command.Command):
    """Save the signed integrity certificate of a job, to be checked with ``certificate verify``."""

    examples = ("certificate download 0b5ec9f1-1f2b-4b7e-8a3e-3d2f1f3f7c11 --file web1.json",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_job(parser)
        parser.add_argument("--file", type=Path, help="where to (default certificate-ID.json)")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        told = _fetch(self.service, parsed_args)
        path = parsed_args.file or Path(f"certificate-{parsed_args.execution or parsed_args.job}.json")
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
        self.app.stdout.write(f"{path}\n")


class KeyShow(ServiceCommand, show.ShowOne):
    """Show the public key that the service signs certificates with."""

    examples = ("certificate key show -f json",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        told = self.service.certificate_key()
        return tuple(told), list(told.values())
