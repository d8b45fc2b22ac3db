# SPDX-License-Identifier: Apache-2.0
"""``coriolis migration ...``"""

from __future__ import annotations

from typing import Any

from cliff import lister, show
from openstack import exceptions

from coriolis.client.cli import live
from coriolis.client.cli.endpoint import JsonColumn, found
from coriolis.client.cli.inputs import json_object, pair
from coriolis.client.cli.command import ServiceCommand
from coriolis.client.migration import Migration
from coriolis.client.proxy import Proxy

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
    "notes",
    "created_at",
    "updated_at",
    "transfer_result",
)


def shown(migration: Any) -> tuple[Any, Any]:
    tasks = [task for task in migration.tasks or () if task["status"] != "UNSCHEDULED"]
    values = [getattr(migration, name) for name in SHOWN]
    return (*SHOWN, "tasks"), [
        *(JsonColumn(v) if isinstance(v, (dict, list)) else v for v in values[:-1]),
        ResultColumn(values[-1]),
        TaskColumn(tasks),
    ]


class ResultColumn(JsonColumn):
    """What came of each machine: for people, a line each for the new machine, its disks and how to look at it."""

    def human_readable(self) -> str:
        return "\n".join(line for name, result in (self._value or {}).items() for line in _result(name, result))


def _result(name: str, result: dict[str, Any]) -> list[str]:
    lines = [f"{name} is now {result.get('instance_name') or name} ({result.get('id')})"]
    lines += [f"  console: {result['console']}"] if result.get("console") else []
    return lines + [f"  {line}" for disk in (result.get("integrity") or {}).get("disks", ()) for line in _disk(disk)]


def _disk(disk: dict[str, Any]) -> list[str]:
    """The two digests one below the other, where an eye sees a difference."""
    read, written = (live.amount(disk.get(f"bytes_{done}") or 0) for done in ("read", "written"))
    size = live.amount(disk.get("size_bytes") or 0)
    return [
        f"disk {disk.get('disk_id')}: {size}, {read} read, {written} written, verification: {disk.get('verification')}",
        f"  source {disk.get('source_digest')}",
        f"  target {disk.get('target_digest')}",
    ]


class TaskColumn(JsonColumn):
    def human_readable(self) -> str:
        return "\n".join(_line(task) for task in self._value)


def _line(task: dict[str, Any]) -> str:
    text = f"{task['status']:<10} {live.label(task)}"
    return " ".join([text, *_figures(task)]) + (
        f": {task['exception_details']}" if task.get("exception_details") else ""
    )


def _figures(task: dict[str, Any]) -> list[str]:
    """How far the items of a task are, where it is not over."""
    shown = live.amount if task["task_type"] in live.BYTES else str
    updates = [u for u in task["progress_updates"] if u.get("total_steps")]
    return (
        []
        if task["status"] == "COMPLETED"
        else [f"{shown(u['current_step'])}/{shown(u['total_steps'])}" for u in updates]
    )


def add_migration(parser: Any) -> None:
    parser.add_argument("migration", metavar="MIGRATION", help="id of the migration")


class Create(ServiceCommand, show.ShowOne):
    """Migrate virtual machines from one endpoint to another."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--origin-endpoint", required=True, metavar="ENDPOINT", help="name or id of the source")
        parser.add_argument("--destination-endpoint", required=True, metavar="ENDPOINT", help="name or id")
        parser.add_argument(
            "--instance",
            action="append",
            required=True,
            dest="instances",
            metavar="NAME",
            help="virtual machine to move, by name or id; may be repeated",
        )
        parser.add_argument(
            "--network",
            action="append",
            type=pair,
            default=[],
            metavar="SOURCE=DESTINATION",
            help="maps a source network to a destination network; may be repeated",
        )
        parser.add_argument("--network-map", type=json_object, metavar="JSON|FILE", help="the same as one object")
        parser.add_argument("--default-storage", metavar="BACKEND", help="destination storage of every disk")
        parser.add_argument("--storage-mappings", type=json_object, metavar="JSON|FILE", help="storage, disk by disk")
        parser.add_argument("--source-environment", type=json_object, metavar="JSON|FILE", help="options of the source")
        parser.add_argument(
            "--destination-environment", type=json_object, metavar="JSON|FILE", help="options of the destination"
        )
        parser.add_argument("--replication-count", type=int, metavar="N", help="rounds of copying, 1 to 10 (default 2)")
        parser.add_argument(
            "--shutdown-instances", action="store_true", help="shut the source down before the last round"
        )
        parser.add_argument("--notes", help="for people")
        parser.add_argument("--wait", action="store_true", help="show the progress until the end; exit 1 if it fails")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        body = {
            "origin_endpoint_id": found(service, parsed_args.origin_endpoint).id,
            "destination_endpoint_id": found(service, parsed_args.destination_endpoint).id,
            "instances": parsed_args.instances,
            "network_map": {**(parsed_args.network_map or {}), **dict(parsed_args.network)},
            "storage_mappings": _storage(parsed_args),
            "source_environment": parsed_args.source_environment or {},
            "destination_environment": parsed_args.destination_environment or {},
            "shutdown_instances": parsed_args.shutdown_instances,
            "notes": parsed_args.notes,
        }
        if parsed_args.replication_count is not None:
            body["replication_count"] = parsed_args.replication_count
        migration = service.create_migration(**body)
        if parsed_args.wait:
            migration = waited(service, migration.id)
        return shown(migration)


def _storage(parsed_args: Any) -> dict[str, Any]:
    mappings = dict(parsed_args.storage_mappings or {})
    if parsed_args.default_storage:
        mappings["default"] = parsed_args.default_storage
    return mappings


def waited(service: Proxy, migration_id: str) -> Migration:
    """Shows the progress until the end. :raises SDKException: it did not complete"""
    with live.view() as seen:
        migration = service.wait_for_migration(migration_id, seen=seen)
    if migration.status != "COMPLETED":
        errors = [
            f"{live.label(task)}: {task['exception_details']}" for task in migration.tasks if task["exception_details"]
        ]
        raise exceptions.SDKException("\n".join([f"Migration {migration.id} ended {migration.status}.", *errors]))
    return migration


class Wait(ServiceCommand, show.ShowOne):
    """Show the progress of a migration until it ends; exit status 1 if it fails."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_migration(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return shown(waited(self.service, parsed_args.migration))


class List(ServiceCommand, lister.Lister):
    """List migrations, newest first."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--status", help="only those in this state")
        parser.add_argument("--limit", type=int, default=100, help="at most so many (default 100)")
        parser.add_argument("--marker", metavar="ID", help="those after this one")
        parser.add_argument("--sort-key", default=None, help="field to sort by (default created_at)")
        parser.add_argument("--sort-dir", choices=("asc", "desc"), default=None)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        names = ("status", "limit", "marker", "sort_key", "sort_dir")
        query = {name: getattr(parsed_args, name) for name in names if getattr(parsed_args, name) is not None}
        rows = [
            (m.id, m.status, ", ".join(m.instances), m.notes, m.created_at)
            for m in self.service.migrations(paginated=False, **query)
        ]
        return ("ID", "Status", "Instances", "Notes", "Created"), rows


class Show(ServiceCommand, show.ShowOne):
    """Show a migration with its tasks."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_migration(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return shown(self.service.get_migration(parsed_args.migration))


class Cancel(ServiceCommand):
    """Cancel migrations; what they made on the destination is removed, the source is left as it was."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("migrations", metavar="MIGRATION", nargs="+", help="ids")
        parser.add_argument("--force", action="store_true", help="do not wait for running attempts to tidy up")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        for migration in parsed_args.migrations:
            self.service.cancel_migration(migration, force=parsed_args.force)


class Delete(ServiceCommand):
    """Delete the records of migrations that are over. The virtual machines stay."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("migrations", metavar="MIGRATION", nargs="+", help="ids")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        for migration in parsed_args.migrations:
            self.service.delete_migration(migration, ignore_missing=False)


class EventList(ServiceCommand, lister.Lister):
    """List what happened in a migration."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_migration(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        rows = [(e.created_at, e.level, e.message) for e in self.service.migration_events(parsed_args.migration)]
        return ("Time", "Level", "Message"), rows
