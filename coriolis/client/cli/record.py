# SPDX-License-Identifier: Apache-2.0
"""What is done with one migration or deployment, or with several: the same words, another noun."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from cliff import show

from coriolis.client.cli import job
from coriolis.client.cli.columns import details
from coriolis.client.cli.command import ForEach, ServiceCommand


class OneCommand(ServiceCommand, show.ShowOne):
    """About one record, named by its id; the answer is the record."""

    noun: ClassVar[str]  # of methods of the service, and of the argument
    shown: ClassVar[tuple[str, ...]]

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        add_id(parser, self.noun)
        return parser

    def method(self, verb: str) -> Any:
        """``verb`` of the service, for this noun."""
        return getattr(self.service, f"{verb}_{self.noun}")

    def found(self, parsed_args: Any) -> Any:
        return job.found(self.method("find"), getattr(parsed_args, self.noun))

    def followed(self, key: str) -> Any:
        return job.followed(partial(self.method("wait_for"), key))


class ShowOne(OneCommand):
    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(self.found(parsed_args), self.shown)


class WaitForOne(OneCommand):
    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(self.followed(self.found(parsed_args).id), self.shown, seen=True)


class RetryOne(OneCommand):
    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        job.add_wait(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        record = self.method("retry")(getattr(parsed_args, self.noun))
        if parsed_args.wait:
            record = self.followed(record.id)
        return details(record, self.shown, seen=parsed_args.wait)


class CancelEach(ForEach):
    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--force", action="store_true", help="do not wait for running attempts to tidy up")
        return parser

    def do(self, thing: str, parsed_args: Any) -> None:
        getattr(self.service, f"cancel_{self.noun}")(thing, force=parsed_args.force)


class DeleteEach(ForEach):
    def do(self, thing: str, parsed_args: Any) -> None:
        getattr(self.service, f"delete_{self.noun}")(thing, ignore_missing=False)


def add_id(parser: Any, noun: str) -> None:
    parser.add_argument(noun, metavar=noun.upper(), help=f"id of the {noun}")
