# SPDX-License-Identifier: Apache-2.0
"""``coriolis migration ...``, which is ``openstack migration ...``"""

from __future__ import annotations

from functools import partial
from typing import Any

from cliff import show

from coriolis.client.cli import job, record
from coriolis.client.cli.columns import InlineColumn, details
from coriolis.client.cli.command import PageLister, ServiceCommand
from coriolis.client.cli.inputs import json_object

SHOWN = (
    "id",
    "status",
    "instances",
    "origin_endpoint_id",
    "destination_endpoint_id",
    "network_map",
    "storage_mappings",
    "source_environment",
    "destination_environment",
    "replication_count",
    "shutdown_instances",
    "skip_os_morphing",
    "notes",
    "created_at",
    "updated_at",
    "transfer_result",
    "tasks",
)


class Create(ServiceCommand, show.ShowOne):
    """Migrate virtual machines from one endpoint to another."""

    examples = (
        (
            "migration create --origin-endpoint old --destination-endpoint new --instance web1"
            " --network 'VM Network=default' --default-storage default --wait"
        ),
        (
            "migration create --origin-endpoint old --destination-endpoint new --instance web1 --instance db1"
            " --network-map networks.json --shutdown-instances --dry-run"
        ),
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        for side in ("origin", "destination"):
            platform = parser.add_mutually_exclusive_group(required=True)
            platform.add_argument(f"--{side}-endpoint", metavar="ENDPOINT", help=f"{side} platform, by name or id")
            platform.add_argument(
                f"--{side}",
                type=json_object,
                metavar=job.JSON,
                help="the same without an endpoint: an object with type and connection_info",
            )
        job.add_instances(parser)
        job.add_mappings(parser)
        job.add_scripts(parser)
        job.add_pools(parser, sides=True)
        parser.add_argument("--replication-count", type=int, metavar="N", help="rounds of copying, 1 to 10 (default 2)")
        parser.add_argument(
            "--shutdown-instances", action="store_true", help="shut the source down before the last round"
        )
        parser.add_argument("--notes", help="for people")
        job.add_start(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        body = {
            **platforms(service, parsed_args),
            "instances": parsed_args.instances,
            "shutdown_instances": parsed_args.shutdown_instances,
            **job.mappings(parsed_args),
            **job.guests(parsed_args),
            **job.pools(service, parsed_args),
            **job.given(parsed_args, "replication_count", "notes"),
        }
        if parsed_args.dry_run:
            return job.planned(self, service.plan_migration(**body))
        migration = service.create_migration(**body)
        if parsed_args.wait:
            migration = job.followed(partial(service.wait_for_migration, migration.id))
        return details(migration, SHOWN, seen=parsed_args.wait)


def platforms(service: Any, parsed_args: Any) -> dict[str, Any]:
    """Both sides, as endpoint ids or as they were given."""
    body = {}
    for side in ("origin", "destination"):
        name = getattr(parsed_args, f"{side}_endpoint")
        if name is not None:
            body[f"{side}_endpoint_id"] = job.found(service.find_endpoint, name).id
        else:
            body[side] = getattr(parsed_args, side)
    return body


class Wait(record.WaitForOne):
    """Show the progress of a migration until it ends; exit status 1 if it fails."""

    noun = "migration"
    shown = SHOWN
    examples = ("migration wait 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)


class List(PageLister):
    """List migrations, newest first."""

    examples = ("migration list --status ERROR --long", "migration list --limit 20 --sort-key updated_at")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--status", help="only those in this state")
        parser.add_argument("--long", action="store_true", help="with endpoints and rounds")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        found = self.service.migrations(**self.page(parsed_args, "status"))
        columns = ("ID", "Status", "Instances", "Notes", "Created")
        if not parsed_args.long:
            return columns, ((m.id, m.status, InlineColumn(m.instances), m.notes, m.created_at) for m in found)
        return (*columns, "Updated", "Origin endpoint", "Destination endpoint", "Rounds", "Shut down"), (
            (
                m.id,
                m.status,
                InlineColumn(m.instances),
                m.notes,
                m.created_at,
                m.updated_at,
                m.origin_endpoint_id,
                m.destination_endpoint_id,
                m.replication_count,
                m.shutdown_instances,
            )
            for m in found
        )


class Show(record.ShowOne):
    """Show a migration with its tasks."""

    noun = "migration"
    shown = SHOWN
    examples = ("migration show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 -f json",)


class Cancel(record.CancelEach):
    """Cancel migrations; what they made on the destination is removed, the source is left as it was."""

    noun = "migration"
    examples = ("migration cancel 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)


class Retry(record.RetryOne):
    """Run again the virtual machines of a migration that failed; those that are complete stay as they are."""

    noun = "migration"
    shown = SHOWN
    examples = ("migration retry 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --wait",)


class Delete(record.DeleteEach):
    """Delete the records of migrations that are over. The virtual machines stay."""

    noun = "migration"
    examples = ("migration delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 5d2e0f6a-2a5e-4a0e-b5ad-6a7c0d1e2f33",)


class TaskList(PageLister):
    """List the steps of a migration, in order."""

    examples = ("migration task list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --long",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        record.add_id(parser, "migration")
        parser.add_argument("--long", action="store_true", help="with workers and times")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        tasks = self.service.migration_tasks(parsed_args.migration, **self.page(parsed_args))
        columns = ("ID", "Instance", "Step", "Item", "Status", "Why")
        if not parsed_args.long:
            rows = ((t.id, t.instance, t.task_type, t.item, t.status, t.exception_details) for t in tasks)
            return columns, rows
        return (*columns, "Host", "Created", "Updated"), (
            (t.id, t.instance, t.task_type, t.item, t.status, t.exception_details, t.host, t.created_at, t.updated_at)
            for t in tasks
        )


class TaskShow(ServiceCommand, show.ShowOne):
    """Show one step with its progress and events."""

    examples = ("migration task show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 7a9e4d22-19b0-4f0b-8a55-1e0c9a1f3d44",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        record.add_id(parser, "migration")
        parser.add_argument("task", metavar="TASK", help="id of the step")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        names = (
            "id", "instance", "task_type", "item", "status", "exception_details", "host", "depends_on",
            "created_at", "updated_at", "progress_updates", "events",
        )  # fmt: skip
        return details(self.service.get_migration_task(parsed_args.migration, parsed_args.task), names)
