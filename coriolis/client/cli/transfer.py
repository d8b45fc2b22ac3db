# SPDX-License-Identifier: Apache-2.0
"""``coriolis transfer create`` and so on; executions and schedules have modules of their own."""

from __future__ import annotations

from typing import Any

from cliff import show

from coriolis.client.cli import execution, job
from coriolis.client.cli.columns import InlineColumn, details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand

SHOWN = (
    "id",
    "status",
    "scenario",
    "instances",
    "origin_endpoint_id",
    "destination_endpoint_id",
    "origin_minion_pool_id",
    "destination_minion_pool_id",
    "instance_osmorphing_minion_pool_mappings",
    "network_map",
    "storage_mappings",
    "source_environment",
    "destination_environment",
    "user_scripts",
    "clone_disks",
    "skip_os_morphing",
    "notes",
    "created_at",
    "updated_at",
)


def add_transfer(parser: Any) -> None:
    parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")


def _add_parts(parser: Any) -> None:
    """What create and set share."""
    job.add_mappings(parser)
    job.add_scripts(parser)
    job.add_clones(parser)
    job.add_pools(parser, sides=True)
    parser.add_argument("--notes", help="for people")


def _parts(service: Any, parsed_args: Any) -> dict[str, Any]:
    return {
        **job.mappings(parsed_args),
        **job.guests(parsed_args),
        **job.pools(service, parsed_args),
        **job.given(parsed_args, "clone_disks", "notes"),
    }


class Create(ServiceCommand, show.ShowOne):
    """Define what is to be kept in sync. Nothing is copied before it is executed."""

    examples = (
        (
            "transfer create --origin-endpoint old --destination-endpoint new --instance web1"
            " --network 'VM Network=default' --default-storage default"
        ),
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        job.add_endpoints(parser, required=True)
        job.add_instances(parser)
        parser.add_argument(
            "--scenario",
            choices=("replica", "live_migration"),
            default="replica",
            help="replica (default): deployed as often as wanted; live_migration: moved once",
        )
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        body = {
            "origin_endpoint_id": job.found(service.find_endpoint, parsed_args.origin_endpoint).id,
            "destination_endpoint_id": job.found(service.find_endpoint, parsed_args.destination_endpoint).id,
            "instances": parsed_args.instances,
            "scenario": parsed_args.scenario,
            **_parts(service, parsed_args),
        }
        return details(service.create_transfer(**body), SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change a transfer. What is given is added to its maps and environments; the change is an execution."""

    examples = (
        "transfer set 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --notes 'Moves in May' --network old-net=new-net --wait",
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_transfer(parser)
        _add_parts(parser)
        job.add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        run = service.update_transfer(parsed_args.transfer, **_parts(service, parsed_args))
        return execution.result(service, run, wait=parsed_args.wait)


class List(PageLister):
    """List transfers, newest first."""

    examples = ("transfer list --status COMPLETED --long", "transfer list --limit 20 --sort-key updated_at")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--status", help="only those whose last execution is in this state")
        parser.add_argument("--long", action="store_true", help="with endpoints and times")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        found = self.service.transfers(**self.page(parsed_args, "status"))
        columns = ("ID", "Scenario", "Status", "Instances", "Notes", "Created")
        if not parsed_args.long:
            rows = ((t.id, t.scenario, t.status, InlineColumn(t.instances), t.notes, t.created_at) for t in found)
            return columns, rows
        return (*columns, "Updated", "Origin endpoint", "Destination endpoint"), (
            (
                t.id,
                t.scenario,
                t.status,
                InlineColumn(t.instances),
                t.notes,
                t.created_at,
                t.updated_at,
                t.origin_endpoint_id,
                t.destination_endpoint_id,
            )
            for t in found
        )


class Show(ServiceCommand, show.ShowOne):
    """Show a transfer."""

    examples = ("transfer show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --long -f json",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_transfer(parser)
        parser.add_argument("--long", action="store_true", help="with what the source told about each machine")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        transfer = job.found(self.service.find_transfer, parsed_args.transfer)
        if parsed_args.long:
            transfer = self.service.get_transfer(transfer.id, include_task_info=True)
            return details(transfer, (*SHOWN, "info"))
        return details(transfer, SHOWN)


class Delete(ForEach):
    """Delete transfers. Replicas stay on the destination unless --delete-disks is given."""

    noun = "transfer"
    examples = ("transfer delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --delete-disks",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--delete-disks", action="store_true", help="remove the replicas, in the background")
        return parser

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_transfer(thing, ignore_missing=False, delete_disks=parsed_args.delete_disks)


class DiskDelete(ServiceCommand, show.ShowOne):
    """Delete the replicas of a transfer from the destination; the next execution copies everything."""

    examples = ("transfer disk delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --wait",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_transfer(parser)
        job.add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        run = self.service.delete_transfer_disks(parsed_args.transfer)
        return execution.result(self.service, run, wait=parsed_args.wait)


class Execute(ServiceCommand, show.ShowOne):
    """Bring the replicas of a transfer up to date: the first time all is copied, then what changed."""

    examples = (
        "transfer execute 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --wait",
        "transfer execute 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --shutdown-instances --auto-deploy",
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_transfer(parser)
        parser.add_argument("--shutdown-instances", action="store_true", help="shut the source down before the copy")
        parser.add_argument("--auto-deploy", action="store_true", help="deploy when the copy is complete")
        job.add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        run = self.service.create_transfer_execution(
            parsed_args.transfer,
            shutdown_instances=parsed_args.shutdown_instances,
            auto_deploy=parsed_args.auto_deploy,
        )
        return execution.result(self.service, run, wait=parsed_args.wait)
