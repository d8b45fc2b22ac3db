# SPDX-License-Identifier: Apache-2.0
"""``coriolis transfer schedule ...``"""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from coriolis.client.cli.columns import JsonColumn, details
from coriolis.client.cli.command import PageLister, ServiceCommand, for_each
from coriolis.client.cli.inputs import DAYS, day, moment
from coriolis.client.cli.job import given

SHOWN = (
    "id",
    "transfer_id",
    "schedule",
    "enabled",
    "expiration_date",
    "shutdown_instance",
    "auto_deploy",
    "created_at",
    "updated_at",
)
FIELDS = ("minute", "hour", "dom", "month", "dow")


class WhenColumn(JsonColumn):
    """``hour=3 dow=mon``; every minute where nothing is set."""

    def human_readable(self) -> str:
        when = {field: self._value[field] for field in FIELDS if self._value.get(field) is not None}
        if "dow" in when:
            when["dow"] = DAYS[when["dow"]]
        return " ".join(f"{field}={value}" for field, value in when.items()) or "every minute"


def _add_parts(parser: Any) -> None:
    when = parser.add_argument_group("when", "in UTC; what is left out matches always")
    when.add_argument("--minute", type=int, metavar="0-59")
    when.add_argument("--hour", type=int, metavar="0-23")
    when.add_argument("--day-of-month", type=int, dest="dom", metavar="1-31")
    when.add_argument("--month", type=int, metavar="1-12")
    when.add_argument("--day-of-week", type=day, dest="dow", metavar="mon-sun")
    parser.add_argument(
        "--expires-at", type=moment, dest="expiration_date", metavar="TIME", help="not after 2026-12-31T23:00:00Z"
    )
    parser.add_argument("--enabled", action=argparse.BooleanOptionalAction, help="whether it fires")
    parser.add_argument(
        "--shutdown-instance", action=argparse.BooleanOptionalAction, help="shut the source down before the copy"
    )
    parser.add_argument("--auto-deploy", action=argparse.BooleanOptionalAction, help="deploy when the copy is complete")


def _parts(parsed_args: Any) -> dict[str, Any]:
    return given(parsed_args, "expiration_date", "enabled", "shutdown_instance", "auto_deploy")


def _add_schedule(parser: Any, **more: Any) -> None:
    parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
    parser.add_argument("schedule", metavar="SCHEDULE", help="id of the schedule", **more)


class Create(ServiceCommand, show.ShowOne):
    """Execute a transfer at set times."""

    examples = (
        "transfer schedule create 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --minute 0 --hour 3",
        (
            "transfer schedule create 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --minute 30 --hour 22 --day-of-week sat"
            " --expires-at 2099-12-31T00:00:00Z --auto-deploy"
        ),
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        schedule = self.service.create_transfer_schedule(
            parsed_args.transfer, schedule=given(parsed_args, *FIELDS), **_parts(parsed_args)
        )
        return details(schedule, SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change a schedule. A new time replaces the old one whole."""

    examples = (
        "transfer schedule set 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 7a9e4d22-19b0-4f0b-8a55-1e0c9a1f3d44 --no-enabled",
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_schedule(parser)
        _add_parts(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        when = given(parsed_args, *FIELDS)
        changes = _parts(parsed_args) | ({"schedule": when} if when else {})
        schedule = self.service.update_transfer_schedule(parsed_args.transfer, parsed_args.schedule, **changes)
        return details(schedule, SHOWN)


class List(PageLister):
    """List the schedules of a transfer."""

    examples = ("transfer schedule list 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 --hide-expired",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("transfer", metavar="TRANSFER", help="id of the transfer")
        parser.add_argument("--hide-expired", action="store_true", help="without those whose time is over")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        query = self.page(parsed_args) | ({"show_expired": False} if parsed_args.hide_expired else {})
        rows = (
            (s.id, WhenColumn(s.schedule), s.enabled, s.expiration_date, s.shutdown_instance, s.auto_deploy)
            for s in self.service.transfer_schedules(parsed_args.transfer, **query)
        )
        return ("ID", "When (UTC)", "Enabled", "Expires", "Shut down", "Deploy"), rows


class Show(ServiceCommand, show.ShowOne):
    """Show a schedule."""

    examples = ("transfer schedule show 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 7a9e4d22-19b0-4f0b-8a55-1e0c9a1f3d44",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_schedule(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(self.service.get_transfer_schedule(parsed_args.transfer, parsed_args.schedule), SHOWN)


class Delete(ServiceCommand):
    """Delete schedules."""

    examples = ("transfer schedule delete 3f0b4f3c-8c52-4c5c-9e43-0b1f7d8f6c11 7a9e4d22-19b0-4f0b-8a55-1e0c9a1f3d44",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        _add_schedule(parser, nargs="+")
        return parser

    def take_action(self, parsed_args: Any) -> None:
        def delete(schedule: str) -> None:
            self.service.delete_transfer_schedule(parsed_args.transfer, schedule, ignore_missing=False)

        for_each(parsed_args.schedule, delete)
