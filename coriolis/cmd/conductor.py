# SPDX-License-Identifier: Apache-2.0
"""``coriolis-conductor``"""

from __future__ import annotations

from oslo_config import cfg

from coriolis.cmd import assembly
from coriolis.cmd.database import database_of
from coriolis.runtime.launcher import Service

PROGRAM = "coriolis-conductor"


def main() -> int:
    """Runs until a signal; as many as wanted may run."""
    return assembly.serve(PROGRAM, "Decides what runs next, and stores what workers report.", _services)


def _services(conf: cfg.ConfigOpts) -> list[Service]:
    db = database_of(conf)
    return [assembly.presence(conf, db, PROGRAM), assembly.conductor(conf, db, assembly.broker(conf))]
