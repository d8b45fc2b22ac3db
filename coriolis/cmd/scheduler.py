# SPDX-License-Identifier: Apache-2.0
"""``coriolis-scheduler``"""

from __future__ import annotations

from oslo_config import cfg

from coriolis.cmd import assembly
from coriolis.cmd.database import database_of
from coriolis.runtime.launcher import Service

PROGRAM = "coriolis-scheduler"


def main() -> int:
    """Runs until a signal; as many as wanted may run."""
    return assembly.serve(PROGRAM, "Places ready tasks on workers.", _services)


def _services(conf: cfg.ConfigOpts) -> list[Service]:
    db = database_of(conf)
    return [assembly.presence(conf, db, PROGRAM), assembly.scheduler(conf, db, assembly.broker(conf))]
