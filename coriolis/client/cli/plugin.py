# SPDX-License-Identifier: Apache-2.0
"""The same commands in the program ``openstack``, below ``migration``. Its names are those that it looks for."""

from __future__ import annotations

import argparse
import os
from typing import Any, cast

from coriolis.client.connect import vendor_hook
from coriolis.client.proxy import Proxy

API_NAME = "migration"
API_VERSION_OPTION = "os_migration_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"


def make_client(instance: Any) -> Proxy:
    """From the connection of the program, whichever way it authenticates."""
    connection = instance.sdk_connection
    vendor_hook(connection)
    return cast(Proxy, connection.migration)


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--os-migration-api-version",
        metavar="<migration-api-version>",
        default=os.environ.get("OS_MIGRATION_API_VERSION", DEFAULT_API_VERSION),
        help=f"Version of the migration service (OS_MIGRATION_API_VERSION), default {DEFAULT_API_VERSION}",
    )
    return parser
