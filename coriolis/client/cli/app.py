# SPDX-License-Identifier: Apache-2.0
"""The program ``coriolis``: finds the service and runs a command of the entry-point group ``coriolis.cli``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib import metadata
from typing import Any

from cliff import app as cliff_app
from cliff import commandmanager

from coriolis.client import Proxy, connect_cloud, connect_standalone

DESCRIPTION = (
    "Moves virtual machines between clouds and hypervisors. Talks to the standalone that runs on this host, or, with "
    "--os-cloud or OS_CLOUD / OS_AUTH_URL in the environment, to the service of a cloud."
)


class Application(cliff_app.App):
    def __init__(self) -> None:
        super().__init__(
            description=DESCRIPTION,
            version=metadata.version("coriolis"),
            command_manager=commandmanager.CommandManager("coriolis.cli"),
            deferred_help=True,
        )

    def build_option_parser(self, description: str | None, version: str | None, *_: Any, **__: Any) -> Any:
        parser: argparse.ArgumentParser = super().build_option_parser(description, version)
        group = parser.add_argument_group("which service")
        group.add_argument(
            "--os-cloud",
            metavar="NAME",
            default=os.environ.get("OS_CLOUD"),
            help="a cloud of clouds.yaml whose catalog has the service (OS_CLOUD)",
        )
        group.add_argument(
            "--state-dir",
            metavar="DIR",
            help="state directory of the standalone to talk to (CORIOLIS_STATE_DIR; default ~/.local/state/coriolis)",
        )
        return parser

    @cached_property
    def service(self) -> Proxy:
        """The service to talk to, connected at first use, so that ``--help`` needs none."""
        if self.options.state_dir or not (self.options.os_cloud or os.environ.get("OS_AUTH_URL")):
            return connect_standalone(self.options.state_dir)
        return connect_cloud(self.options.os_cloud)


def main(argv: Sequence[str] | None = None) -> int:
    return Application().run(list(sys.argv[1:] if argv is None else argv))
