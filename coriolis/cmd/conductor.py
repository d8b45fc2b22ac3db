# SPDX-License-Identifier: Apache-2.0
"""``coriolis-conductor``"""

from __future__ import annotations

from coriolis.cmd import assembly
from coriolis.cmd.database import database_of


def main() -> int:
    """Runs until a signal; as many as wanted may run."""
    return assembly.serve(
        "coriolis-conductor",
        "Decides what runs next, and stores what workers report.",
        lambda conf: [assembly.conductor(conf, database_of(conf), assembly.broker(conf))],
    )
