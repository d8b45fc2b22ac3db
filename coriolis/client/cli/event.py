# SPDX-License-Identifier: Apache-2.0
"""``coriolis migration event ...`` and the same of deployments and executions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from coriolis.client.cli.command import PageLister, ServiceCommand
from coriolis.client.cli.execution import LAST, add_execution, found
from coriolis.client.job import Event

COLUMNS = ("Time", "Level", "Message")


class _List(PageLister):
    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        events = self.events(parsed_args, self.page(parsed_args))
        return COLUMNS, ((e.created_at, e.level, e.message) for e in events)

    @abstractmethod
    def events(self, parsed_args: Any, query: dict[str, Any]) -> Iterator[Event]:
        """Those that were asked for."""


class _Follow(ServiceCommand):
    def take_action(self, parsed_args: Any) -> None:
        for event in self.events(parsed_args):
            self.app.stdout.write(f"{event.created_at} {event.level} {event.message}\n")
            self.app.stdout.flush()

    @abstractmethod
    def events(self, parsed_args: Any) -> Iterator[Event]:
        """As they happen, until the end."""


class OfMigration(ServiceCommand):
    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("migration", metavar="MIGRATION", help="id of the migration")
        return parser


class OfDeployment(ServiceCommand):
    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("deployment", metavar="DEPLOYMENT", help="id of the deployment")
        return parser


class OfExecution(ServiceCommand):
    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser, nargs="?", default=LAST)
        return parser


class MigrationList(OfMigration, _List):
    """List what happened in a migration, oldest first."""

    examples = ("migration event list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def events(self, parsed_args: Any, query: dict[str, Any]) -> Iterator[Event]:
        return self.service.migration_events(parsed_args.migration, **query)


class DeploymentList(OfDeployment, _List):
    """List what happened in a deployment, oldest first."""

    examples = ("deployment event list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def events(self, parsed_args: Any, query: dict[str, Any]) -> Iterator[Event]:
        return self.service.deployment_events(parsed_args.deployment, **query)


class ExecutionList(OfExecution, _List):
    """List what happened in an execution, oldest first."""

    examples = ("transfer execution event list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 last",)

    def events(self, parsed_args: Any, query: dict[str, Any]) -> Iterator[Event]:
        run = found(self.service, parsed_args.transfer, parsed_args.execution)
        return self.service.transfer_execution_events(parsed_args.transfer, run.id, **query)


class MigrationFollow(OfMigration, _Follow):
    """Print what happens in a migration until it ends."""

    examples = ("migration event follow 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def events(self, parsed_args: Any) -> Iterator[Event]:
        return self.service.follow_migration_events(parsed_args.migration)


class DeploymentFollow(OfDeployment, _Follow):
    """Print what happens in a deployment until it ends."""

    examples = ("deployment event follow 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def events(self, parsed_args: Any) -> Iterator[Event]:
        return self.service.follow_deployment_events(parsed_args.deployment)


class ExecutionFollow(OfExecution, _Follow):
    """Print what happens in an execution until it ends."""

    examples = ("transfer execution event follow 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def events(self, parsed_args: Any) -> Iterator[Event]:
        run = found(self.service, parsed_args.transfer, parsed_args.execution)
        return self.service.follow_transfer_execution_events(parsed_args.transfer, run.id)
