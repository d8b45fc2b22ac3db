# SPDX-License-Identifier: Apache-2.0
"""``coriolis transfer execution ...``"""

from __future__ import annotations

from functools import partial
from typing import Any

from cliff import show
from openstack import exceptions

from coriolis.client.cli import job
from coriolis.client.cli.columns import details
from coriolis.client.cli.command import PageLister, ServiceCommand, for_each
from coriolis.client.record import is_id
from coriolis.client.transfer import TransferExecution

SHOWN = ("id", "transfer_id", "number", "type", "status", "created_at", "updated_at", "tasks")
LAST = "last"


def result(service: Any, run: TransferExecution, *, wait: bool) -> tuple[Any, Any]:
    """What a command shows of the execution that it began. :raises openstack.exceptions.SDKException: it failed"""
    if wait:
        run = job.followed(partial(service.wait_for_transfer_execution, run.transfer_id, run.id))
    return details(run, SHOWN, seen=wait)


def add_execution(parser: Any, **more: Any) -> None:
    parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
    parser.add_argument("execution", metavar="EXECUTION", help=f"id or number of the execution, or '{LAST}'", **more)


def found(service: Any, transfer: str, name: str) -> TransferExecution:
    """:raises openstack.exceptions.SDKException: the transfer or the execution is not there"""
    if is_id(name):
        return service.get_transfer_execution(transfer, name)
    newest = service.transfer_executions(transfer, sort_key="number", sort_dir="desc")
    for run in newest:
        if name in (LAST, str(run.number)):
            return service.get_transfer_execution(transfer, run.id)
    raise exceptions.SDKException(f"Transfer {transfer} has no execution {name!r}.")


class List(PageLister):
    """List the executions of a transfer, newest first."""

    examples = ("transfer execution list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
        parser.add_argument("--status", help="only those in this state")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        runs = self.service.transfer_executions(parsed_args.transfer, **self.page(parsed_args, "status"))
        columns = ("ID", "Number", "Type", "Status", "Created", "Updated")
        return columns, ((e.id, e.number, e.type, e.status, e.created_at, e.updated_at) for e in runs)


class Show(ServiceCommand, show.ShowOne):
    """Show an execution with its tasks."""

    examples = ("transfer execution show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 last",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(found(self.service, parsed_args.transfer, parsed_args.execution), SHOWN)


class Wait(ServiceCommand, show.ShowOne):
    """Show the progress of an execution until it ends; exit status 1 if it fails."""

    examples = ("transfer execution wait 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser, nargs="?", default=LAST)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        run = found(self.service, parsed_args.transfer, parsed_args.execution)
        return result(self.service, run, wait=True)


class Cancel(ServiceCommand):
    """Cancel an execution; the replicas stay as the last complete one left them, or are continued by the next."""

    examples = ("transfer execution cancel 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --force",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser, nargs="?", default=LAST)
        parser.add_argument("--force", action="store_true", help="do not wait for running attempts to tidy up")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        run = found(self.service, parsed_args.transfer, parsed_args.execution)
        self.service.cancel_transfer_execution(parsed_args.transfer, run.id, force=parsed_args.force)


class Retry(ServiceCommand, show.ShowOne):
    """Run again the virtual machines of an execution that failed, in a new execution."""

    examples = ("transfer execution retry 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 last --wait",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser, nargs="?", default=LAST)
        job.add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        run = found(self.service, parsed_args.transfer, parsed_args.execution)
        again = self.service.retry_transfer_execution(parsed_args.transfer, run.id)
        return result(self.service, again, wait=parsed_args.wait)


class Delete(ServiceCommand):
    """Delete the records of executions that are over."""

    examples = ("transfer execution delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 1 2",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_execution(parser, nargs="+")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        def delete(name: str) -> None:
            run = found(self.service, parsed_args.transfer, name)
            self.service.delete_transfer_execution(parsed_args.transfer, run.id, ignore_missing=False)

        for_each(parsed_args.execution, delete)
