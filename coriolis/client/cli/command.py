# SPDX-License-Identifier: Apache-2.0
"""What all commands share. They run in two programs: ``coriolis``, and ``openstack`` as its plugin."""

from __future__ import annotations

from abc import abstractmethod
from argparse import HelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from cliff import command, lister
from cliff._argparse import SmartHelpFormatter
from keystoneauth1 import exceptions as ks_exceptions
from openstack import exceptions

from coriolis.client.proxy import Proxy

NOUN = "migration"  # also the first word of each command in the program ``openstack``


class _Formatter(SmartHelpFormatter):
    """Leaves examples as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "\n".join(indent + line for line in text.splitlines())


class ServiceCommand(command.Command):
    """To be named before the kind of command: ``class Show(ServiceCommand, show.ShowOne)``."""

    auth_required = True  # read by the program ``openstack``
    examples: ClassVar[tuple[str, ...]] = ()  # without the program's name
    status = 0  # with which the program ends, although there was an answer

    @property
    def service(self) -> Proxy:
        """Connected at first use. :raises openstack.exceptions.SDKException: no service is found"""
        app = cast(Any, self.app)
        return cast(Proxy, app.service if self._own else app.client_manager.migration)

    @property
    def _own(self) -> bool:
        """Whether the program is ``coriolis``; asked of its class, because the service itself would be connected."""
        return hasattr(type(self.app), "service")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.formatter_class = cast(type[HelpFormatter], _Formatter)
        return parser

    def get_epilog(self) -> str:
        lines = [f"  $ {self._program} {self._words(example)}" for example in self.examples]
        return "\n".join(["Examples:" if len(lines) > 1 else "Example:", *lines]) if lines else super().get_epilog()

    @property
    def _program(self) -> str:
        return "coriolis" if self._own else f"openstack {NOUN}"

    def _words(self, example: str) -> str:
        return example if self._own else example.removeprefix(f"{NOUN} ")

    def run(self, parsed_args: Any) -> int:
        """:raises openstack.exceptions.SDKException: with the server's own words, which name cause and cure"""
        try:
            return super().run(parsed_args) or self.status
        except exceptions.HttpException as error:
            raise exceptions.SDKException(said_by_server(error)) from error
        except ks_exceptions.ConnectFailure as error:
            raise exceptions.SDKException(f"The service does not answer: {error}") from error


def said_by_server(error: exceptions.HttpException) -> str:
    """The message of the error body; else what the library made of the answer."""
    try:
        return str(cast(Any, error.response).json()["error"]["message"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return str(error.details or error.message)


def for_each(things: Sequence[str], do: Callable[[str], None]) -> None:
    """Does it with all of them, whatever fails. :raises openstack.exceptions.SDKException: which failed, and why"""
    failed = []
    for thing in things:
        try:
            do(thing)
        except exceptions.HttpException as error:
            failed.append(f"{thing}: {said_by_server(error)}")
        except exceptions.SDKException as error:
            failed.append(f"{thing}: {error}")
    if failed and len(things) > 1:
        failed.append(f"{len(failed)} of {len(things)} failed.")
    if failed:
        raise exceptions.SDKException("\n".join(failed))


class ForEach(ServiceCommand):
    """Does one thing with several; what fails does not keep the others from being done."""

    noun: ClassVar[str]  # of the arguments: "minion pool"

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        what = self.noun.upper().replace(" ", "_")
        parser.add_argument("things", metavar=what, nargs="+", help=f"{self.noun}s, by name or id")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """:raises openstack.exceptions.SDKException: names each that failed, and why"""
        for_each(parsed_args.things, lambda thing: self.do(thing, parsed_args))

    @abstractmethod
    def do(self, thing: str, parsed_args: Any) -> None:
        """With one of them, by the name or id that was given."""


class PageLister(ServiceCommand, lister.Lister):
    """A list with the paging and sorting of the wire."""

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("--limit", type=int, metavar="N", help="at most so many; all when left out")
        parser.add_argument("--marker", metavar="ID", help="those after this one")
        parser.add_argument("--sort-key", action="append", metavar="FIELD", help="field to sort by; may be repeated")
        parser.add_argument("--sort-dir", action="append", choices=("asc", "desc"), help="for each field")
        return parser

    def page(self, parsed_args: Any, *more: str) -> dict[str, Any]:
        """The arguments of a proxy's list method; ``more`` are further query words that were asked for."""
        names = ("marker", "sort_key", "sort_dir", *more)
        query = {name: getattr(parsed_args, name) for name in names if getattr(parsed_args, name) is not None}
        if parsed_args.limit is not None:
            query |= {"limit": parsed_args.limit, "paginated": False}
        return query
