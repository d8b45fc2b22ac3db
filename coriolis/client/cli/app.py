# SPDX-License-Identifier: Apache-2.0
"""The program ``coriolis``: finds the service and runs a command of the entry-point group ``coriolis.cli``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from cliff import app as cliff_app
from openstack import exceptions

from coriolis.client import Proxy, connect_cloud, connect_standalone, connect_url
from coriolis.client.cli.words import Commands

DESCRIPTION = (
    "Moves virtual machines between clouds and hypervisors. Talks to the standalone that runs on this host, or, with "
    "--os-cloud or OS_CLOUD / OS_AUTH_URL in the environment, to the service of a cloud."
)


class Application(cliff_app.App):
    def __init__(self) -> None:
        super().__init__(
            description=DESCRIPTION,
            version=metadata.version("coriolis"),
            command_manager=Commands("coriolis.cli"),
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
        group.add_argument("--url", help="address of the service, up to and with the project; wants --token-file")
        group.add_argument("--token-file", type=Path, metavar="FILE", help="file with the token for --url")
        return parser

    @cached_property
    def service(self) -> Proxy:
        """The service to talk to, connected at first use, so that ``--help`` needs none."""
        if self.options.url:
            return connect_url(self.options.url.rstrip("/"), self._token())
        if self.options.state_dir or not (self.options.os_cloud or os.environ.get("OS_AUTH_URL")):
            return connect_standalone(self.options.state_dir)
        return connect_cloud(self.options.os_cloud)

    def _token(self) -> str:
        """:raises openstack.exceptions.ConfigException: no file was named, or it cannot be read"""
        if self.options.token_file is None:
            raise exceptions.ConfigException("--url wants --token-file, too: a file that holds the token.")
        try:
            return str(self.options.token_file.read_text().strip())
        except OSError as error:
            raise exceptions.ConfigException(f"{self.options.token_file} cannot be read: {error.strerror}") from error


def main(argv: Sequence[str] | None = None) -> int:
    return Application().run(list(sys.argv[1:] if argv is None else argv))
