# SPDX-License-Identifier: Apache-2.0
"""``coriolis deployment ...``"""

from __future__ import annotations

from functools import partial
from typing import Any

from cliff import show

from coriolis.client.cli import job, record
from coriolis.client.cli.columns import InlineColumn, details
from coriolis.client.cli.command import PageLister, ServiceCommand

SHOWN = (
    "id",
    "status",
    "transfer_id",
    "transfer_scenario_type",
    "deployer_id",
    "instances",
    "origin_endpoint_id",
    "destination_endpoint_id",
    "clone_disks",
    "skip_os_morphing",
    "notes",
    "created_at",
    "updated_at",
    "transfer_result",
    "tasks",
)


class Create(ServiceCommand, show.ShowOne):
    """Make the replicas of a transfer run as virtual machines on the destination."""

    examples = (
        "deployment create 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --wait",
        "deployment create 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --no-clone-disks --skip-os-morphing",
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
        parser.add_argument("--force", action="store_true", help="even if its last execution did not complete")
        job.add_clones(parser)
        job.add_scripts(parser)
        job.add_pools(parser, sides=False)
        job.add_start(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        body = {
            "transfer_id": parsed_args.transfer,
            "force": parsed_args.force,
            **job.given(parsed_args, "clone_disks"),
            **job.guests(parsed_args),
            **job.pools(service, parsed_args),
        }
        if parsed_args.dry_run:
            return job.planned(self, service.plan_deployment(**body))
        deployment = service.create_deployment(**body)
        if parsed_args.wait:
            deployment = job.followed(partial(service.wait_for_deployment, deployment.id))
        return details(deployment, SHOWN, seen=parsed_args.wait)


class Wait(record.WaitForOne):
    """Show the progress of a deployment until it ends; exit status 1 if it fails."""

    noun = "deployment"
    shown = SHOWN
    examples = ("deployment wait 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)


class List(PageLister):
    """List deployments, newest first."""

    examples = ("deployment list --status RUNNING", "deployment list --long")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--status", help="only those in this state")
        parser.add_argument("--long", action="store_true", help="with endpoints and times")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        found = self.service.deployments(**self.page(parsed_args, "status"))
        columns = ("ID", "Transfer", "Status", "Instances", "Notes", "Created")
        if not parsed_args.long:
            rows = ((d.id, d.transfer_id, d.status, InlineColumn(d.instances), d.notes, d.created_at) for d in found)
            return columns, rows
        return (*columns, "Updated", "Origin endpoint", "Destination endpoint", "Scenario"), (
            (
                d.id,
                d.transfer_id,
                d.status,
                InlineColumn(d.instances),
                d.notes,
                d.created_at,
                d.updated_at,
                d.origin_endpoint_id,
                d.destination_endpoint_id,
                d.transfer_scenario_type,
            )
            for d in found
        )


class Show(record.ShowOne):
    """Show a deployment with its tasks."""

    noun = "deployment"
    shown = SHOWN
    examples = ("deployment show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)


class Cancel(record.CancelEach):
    """Cancel deployments; what they made is removed, the replicas stay."""

    noun = "deployment"
    examples = ("deployment cancel 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --force",)


class Retry(record.RetryOne):
    """Run again the virtual machines of a deployment that failed; those that are complete stay as they are."""

    noun = "deployment"
    shown = SHOWN
    examples = ("deployment retry 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --wait",)


class Delete(record.DeleteEach):
    """Delete the records of deployments that are over. The virtual machines stay."""

    noun = "deployment"
    examples = ("deployment delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)
