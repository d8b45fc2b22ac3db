# SPDX-License-Identifier: Apache-2.0
"""The database of the configuration."""

from __future__ import annotations

import sys

from oslo_config import cfg

from coriolis.store.engine import Database


def database_of(conf: cfg.ConfigOpts) -> Database:
    """:raises SystemExit: no database is configured"""
    if not conf.database.connection:
        sys.exit("No database is configured: set [database]/connection, for example mysql+pymysql://...")
    return Database(conf.database.connection)
