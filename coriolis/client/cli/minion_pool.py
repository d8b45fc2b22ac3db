# SPDX-License-Identifier: Apache-2.0
"""``coriolis minion pool ...``"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from cliff import show
from openstack import exceptions

from coriolis.client.cli.columns import details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand
from coriolis.client.cli.inputs import json_object
from coriolis.client.cli.job import JSON, found, given
from coriolis.client.minion_pool import MinionPool

SHOWN = (
    "id",
    "name",
    "status",
    "endpoint_id",
    "platform",
    "os_type",
    "environment_options",
    "minimum_minions",
    "maximum_minions",
    "minion_max_idle_time",
    "minion_retention_strategy",
    "notes",
    "minion_machines",
    "events",
    "progress_updates",
    "created_at",
    "updated_at",
)
_NUMBERS = ("minimum_minions", "maximum_minions", "minion_max_idle_time", "minion_retention_strategy", "notes")


def _add_pool(parser: Any) -> None:
    parser.add_argument("pool", metavar="POOL", help="name or id of the pool")


def _add_parts(parser: Any) -> None:
    """What create and set share."""
    parser.add_argument("--environment", type=json_object, dest="environment_options", metavar=JSON, help="options")
    parser.add_argument("--minimum-minions", type=int, metavar="N", help="machines that are always there (default 1)")
    parser.add_argument("--maximum-minions", type=int, metavar="N", help="never more (default: the minimum)")
    parser.add_argument(
        "--minion-max-idle-time", type=int, metavar="SECONDS", help="after that a machine too many goes (default 1)"
    )
    parser.add_argument(
        "--minion-retention-strategy", choices=("delete", "poweroff"), help="what becomes of it (default delete)"
    )
    parser.add_argument("--notes", help="for people")


def _add_wait(parser: Any) -> None:
    parser.add_argument("--wait", action="store_true", help="until the pool is ready or gone; exit 1 on an error")


def _result(service: Any, pool: MinionPool, *, wait: bool) -> tuple[Any, Any]:
    """:raises openstack.exceptions.SDKException: the pool is in error, with its last words"""
    if wait:
        pool = service.wait_for_minion_pool(pool.id)
        if pool.status == "ERROR":
            said = [event["message"] for event in pool.events or () if event.get("level") == "ERROR"]
            raise exceptions.SDKException("\n".join([f"Minion pool {pool.id} is in ERROR.", *said[-1:]]))
    return details(pool, SHOWN)


class Create(ServiceCommand, show.ShowOne):
    """Create a pool of minions: temporary machines beside the disks, kept ready for later work."""

    examples = (
        (
            "minion pool create --name readers --endpoint old --platform source --os-type linux"
            " --environment pool.json --minimum-minions 2 --wait"
        ),
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", required=True, help="name of the pool")
        parser.add_argument("--endpoint", required=True, metavar="ENDPOINT", help="platform, by name or id")
        parser.add_argument("--platform", required=True, choices=("source", "destination"), help="its part")
        parser.add_argument("--os-type", default="linux", help="operating system of the machines (default linux)")
        _add_parts(parser)
        parser.add_argument("--skip-allocation", action="store_true", help="make the machines later, by 'allocate'")
        _add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        service = self.service
        pool = service.create_minion_pool(
            endpoint_id=found(service.find_endpoint, parsed_args.endpoint).id,
            environment_options=parsed_args.environment_options or {},
            skip_allocation=parsed_args.skip_allocation,
            **given(parsed_args, "name", "platform", "os_type", *_NUMBERS),
        )
        return _result(service, pool, wait=parsed_args.wait)


class Set(ServiceCommand, show.ShowOne):
    """Change a pool that has no machines."""

    examples = ("minion pool set readers --maximum-minions 5",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_pool(parser)
        parser.add_argument("--name", help="new name")
        parser.add_argument("--os-type", help="operating system of the machines")
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        pool = found(self.service.find_minion_pool, parsed_args.pool)
        changes = given(parsed_args, "name", "os_type", "environment_options", *_NUMBERS)
        return details(self.service.update_minion_pool(pool, **changes), SHOWN)


class List(PageLister):
    """List the minion pools."""

    examples = ("minion pool list --long", "minion pool list --all-projects --long")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="with limits, notes and project")
        parser.add_argument(
            "--all-projects", action="store_true", default=None, help="those of all projects, for administrators"
        )
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        pools = self.service.minion_pools(**self.page(parsed_args, "all_projects"))
        columns = ("ID", "Name", "Endpoint", "Platform", "OS", "Status")
        if not parsed_args.long:
            return columns, ((p.id, p.name, p.endpoint_id, p.platform, p.os_type, p.status) for p in pools)
        return (*columns, "Minimum", "Maximum", "Idle seconds", "Then", "Notes", "Created", "Project"), (
            (
                p.id,
                p.name,
                p.endpoint_id,
                p.platform,
                p.os_type,
                p.status,
                p.minimum_minions,
                p.maximum_minions,
                p.minion_max_idle_time,
                p.minion_retention_strategy,
                p.notes,
                p.created_at,
                p.project_id,
            )
            for p in pools
        )


class Show(ServiceCommand, show.ShowOne):
    """Show a pool with its machines."""

    examples = ("minion pool show readers",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_pool(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        pool = found(self.service.find_minion_pool, parsed_args.pool)
        return details(self.service.get_minion_pool(pool.id), SHOWN)


class Delete(ForEach):
    """Delete pools that have no machines."""

    noun = "minion pool"
    examples = ("minion pool delete readers writers",)

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_minion_pool(found(self.service.find_minion_pool, thing), ignore_missing=False)


class _Action(ServiceCommand, show.ShowOne):
    """A command that asks a pool for one action."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_pool(parser)
        _add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        pool = found(self.service.find_minion_pool, parsed_args.pool)
        return _result(self.service, self.ask(pool, parsed_args), wait=parsed_args.wait)

    @abstractmethod
    def ask(self, pool: MinionPool, parsed_args: Any) -> MinionPool:
        """:returns: the pool as the service answered it"""


class Allocate(_Action):
    """Make the machines of a pool."""

    examples = ("minion pool allocate readers --wait",)

    def ask(self, pool: MinionPool, parsed_args: Any) -> MinionPool:
        return self.service.allocate_minion_pool(pool)


class Refresh(_Action):
    """Check that the machines of a pool are well; those that are not are made anew."""

    examples = ("minion pool refresh readers",)

    def ask(self, pool: MinionPool, parsed_args: Any) -> MinionPool:
        return self.service.refresh_minion_pool(pool)


class Deallocate(_Action):
    """Delete the machines of a pool."""

    examples = ("minion pool deallocate readers --force",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--force", action="store_true", help="whatever state the pool is in")
        return parser

    def ask(self, pool: MinionPool, parsed_args: Any) -> MinionPool:
        return self.service.deallocate_minion_pool(pool, force=parsed_args.force)
