# SPDX-License-Identifier: Apache-2.0
"""``coriolis bandwidth budget ...``"""

from __future__ import annotations

import argparse
import re
from typing import Any

from cliff import show

from coriolis.client.cli.columns import InlineColumn, details
from coriolis.client.cli.command import ForEach, PageLister, ServiceCommand
from coriolis.client.cli.inputs import pair
from coriolis.client.cli.job import found, given

SHOWN = (
    "id",
    "name",
    "description",
    "enabled",
    "scope",
    "target",
    "bytes_per_second",
    "streams",
    "backoff_factor",
    "time_zone",
    "windows",
    "now",
    "usage",
    "created_at",
    "updated_at",
)
SCOPES = ("link", "endpoint", "host", "datastore", "project")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_FIELDS = ("name", "description", "enabled", "bytes_per_second", "streams", "backoff_factor", "time_zone", "windows")


def rate(text: str) -> int:
    """For argparse: bytes per second, with a unit if wanted: ``50M``, ``50MB``, ``64MiB``."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?(?:/s)?", text.strip().lower())
    if matched is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no rate: write bytes per second, like 50MB or 64MiB")
    return round(float(matched[1]) * _UNITS[matched[2] or ""])


def window(text: str) -> dict[str, Any]:
    """For argparse: ``[DAYS,]START-END=RATE``, like ``mon-fri,08:00-18:00=10MB``; ``unlimited`` for no rate."""
    when, separator, limit = text.partition("=")
    *days, hours = when.split(",")
    start, dash, end = hours.partition("-")
    if not separator or not dash:
        raise argparse.ArgumentTypeError(f"'{text}' is no window: write mon-fri,08:00-18:00=10MB")
    found_ = {"start": start, "end": end, "bytes_per_second": None if limit == "unlimited" else rate(limit)}
    return {**found_, "days": [day for part in days for day in _days(part, text)]} if days else found_


def _days(part: str, text: str) -> list[str]:
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    first, _, last = part.lower().partition("-")
    if first not in names or (last or first) not in names:
        raise argparse.ArgumentTypeError(f"'{text}': '{part}' is no day; write mon to sun, or mon-fri")
    start, length = names.index(first), (names.index(last or first) - names.index(first)) % 7 + 1
    return [names[(start + step) % 7] for step in range(length)]


def _add_limits(parser: Any) -> None:
    parser.add_argument("--description", help="for people")
    parser.add_argument("--enabled", action=argparse.BooleanOptionalAction, help="whether it limits anything")
    parser.add_argument(
        "--rate", dest="bytes_per_second", type=rate, metavar="RATE", help="bytes per second of all together: 50MB"
    )
    parser.add_argument("--streams", type=int, metavar="N", help="copies that move bytes at the same time")
    parser.add_argument(
        "--backoff-factor",
        type=float,
        metavar="N",
        help="slow down while reading takes so many times as long as it usually does",
    )
    parser.add_argument("--time-zone", metavar="ZONE", help="of the windows: Europe/Berlin; UTC by default")
    parser.add_argument(
        "--window",
        dest="windows",
        action="append",
        type=window,
        metavar="[DAYS,]START-END=RATE",
        help="another rate at a time of the day; may be repeated, the first that fits holds",
    )


class Create(ServiceCommand, show.ShowOne):
    """Create a bandwidth budget."""

    examples = (
        "bandwidth budget create wan --scope link --target destination_region=<id> --rate 100MB",
        "bandwidth budget create cellar --scope datastore --target storage_backend=ssd --streams 4 --backoff-factor 3",
        "bandwidth budget create office --scope host --target host=worker-1 --window mon-fri,08:00-18:00=20MB",
    )

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the budget")
        parser.add_argument("--scope", required=True, choices=SCOPES, help="what it limits")
        parser.add_argument(
            "--target",
            required=True,
            action="append",
            type=pair,
            metavar="KEY=VALUE",
            help="which one: source_region, destination_region, endpoint_id, host, storage_backend or project_id",
        )
        _add_limits(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        values = given(parsed_args, *_FIELDS)
        values |= {"scope": parsed_args.scope, "target": dict(parsed_args.target)}
        return details(self.service.create_bandwidth_budget(**values), SHOWN)


class Set(ServiceCommand, show.ShowOne):
    """Change a bandwidth budget; running copies feel it within five seconds."""

    examples = ("bandwidth budget set wan --rate 20MB", "bandwidth budget set wan --no-enabled")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("budget", metavar="BUDGET", help="name or id of the budget")
        parser.add_argument("--name", help="new name")
        _add_limits(parser)
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        budget = found(self.service.find_bandwidth_budget, parsed_args.budget)
        return details(self.service.update_bandwidth_budget(budget, **given(parsed_args, *_FIELDS)), SHOWN)


class List(PageLister):
    """List bandwidth budgets with what they allow and what is used now."""

    examples = ("bandwidth budget list",)

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        rows = self.service.bandwidth_budgets(**self.page(parsed_args))
        columns = ("ID", "Name", "Enabled", "Scope", "Target", "Bytes/s now", "Streams", "Granted", "Used")
        return columns, (
            (
                one.id,
                one.name,
                one.enabled,
                one.scope,
                InlineColumn(one.target),
                one.now["bytes_per_second"],
                one.usage["streams"],
                one.usage["granted"],
                one.usage["used"],
            )
            for one in rows
        )


class Show(ServiceCommand, show.ShowOne):
    """Show a bandwidth budget."""

    examples = ("bandwidth budget show wan",)

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.add_argument("budget", metavar="BUDGET", help="name or id of the budget")
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Any, Any]:
        return details(found(self.service.find_bandwidth_budget, parsed_args.budget), SHOWN)


class Delete(ForEach):
    """Delete bandwidth budgets."""

    noun = "bandwidth budget"
    examples = ("bandwidth budget delete wan",)

    def do(self, thing: str, parsed_args: Any) -> None:
        self.service.delete_bandwidth_budget(found(self.service.find_bandwidth_budget, thing), ignore_missing=False)
