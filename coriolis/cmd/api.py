# SPDX-License-Identifier: Apache-2.0
"""``coriolis-api``, and ``application`` for a WSGI server."""

from __future__ import annotations

import atexit
from typing import Any

from oslo_config import cfg
from oslo_log import log

from coriolis import conf as configuration
from coriolis.cmd import assembly
from coriolis.cmd.database import database_of
from coriolis.runtime.launcher import Service

PROGRAM = "coriolis-api"


def main() -> int:
    """Serves the REST API by itself until a signal."""
    return assembly.serve(PROGRAM, "Serves the REST API.", _services)


def _services(conf: cfg.ConfigOpts) -> list[Service]:
    db = database_of(conf)
    return [assembly.presence(conf, db, PROGRAM), assembly.api(conf, db, assembly.broker(conf))]


def application() -> Any:
    """The WSGI application, configured by the usual files; for gunicorn, uwsgi or mod_wsgi."""
    conf = configuration.load([], program=PROGRAM)
    log.setup(conf, PROGRAM)
    db = database_of(conf)
    presence = assembly.presence(conf, db, PROGRAM)
    presence.start()
    atexit.register(presence.stop)
    return assembly.api(conf, db, assembly.broker(conf)).application
