# SPDX-License-Identifier: Apache-2.0
"""Words of the older command line that are understood, too; help and completion show ours only."""

from __future__ import annotations

from typing import Any

from cliff import commandmanager

OLDER = {
    "diagnostics get": "diagnostics list",
    "endpoint destination minion pool options list": "endpoint destination minion pool option list",
    "endpoint destination options list": "endpoint destination option list",
    "endpoint export inventory": "endpoint inventory export",
    "endpoint source minion pool options list": "endpoint source minion pool option list",
    "endpoint source options list": "endpoint source option list",
    "endpoint update": "endpoint set",
    "endpoint validate connection": "endpoint validate",
    "minion pool update": "minion pool set",
    "provider schema list": "provider schema show",
    "region update": "region set",
    "service update": "service set",
    "transfer disks delete": "transfer disk delete",
    "transfer schedule update": "transfer schedule set",
    "transfer update": "transfer set",
}


class Commands(commandmanager.CommandManager):
    """The commands of the entry points, by our words or by older ones."""

    def find_command(self, argv: list[str]) -> Any:
        for older, ours in OLDER.items():
            words = older.split()
            if argv[: len(words)] == words:
                return super().find_command([*ours.split(), *argv[len(words) :]])
        return super().find_command(argv)
