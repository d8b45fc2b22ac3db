# SPDX-License-Identifier: Apache-2.0
"""``coriolis-scheduler``"""

from __future__ import annotations

from coriolis.cmd import assembly
from coriolis.cmd.database import database_of


def main() -> int:
    """Runs until a signal; as many as wanted may run."""
    return assembly.serve(
        "coriolis-scheduler",
        "Places ready tasks on workers.",
        lambda conf: [assembly.scheduler(conf, database_of(conf), assembly.broker(conf))],
    )
