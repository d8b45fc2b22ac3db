# SPDX-License-Identifier: Apache-2.0
"""``coriolis-api``, and ``application`` for a WSGI server."""

from __future__ import annotations

from typing import Any

from oslo_log import log

from coriolis import conf as configuration
from coriolis.cmd import assembly
from coriolis.cmd.database import database_of

PROGRAM = "coriolis-api"


def main() -> int:
    """Serves the REST API by itself until a signal."""
    return assembly.serve(
        PROGRAM,
        "Serves the REST API.",
        lambda conf: [assembly.api(conf, database_of(conf), assembly.broker(conf))],
    )


def application() -> Any:
    """The WSGI application, configured by the usual files; for gunicorn, uwsgi or mod_wsgi."""
    conf = configuration.load([], program=PROGRAM)
    log.setup(conf, PROGRAM)
    return assembly.api(conf, database_of(conf), assembly.broker(conf)).application
