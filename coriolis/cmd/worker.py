# SPDX-License-Identifier: Apache-2.0
"""``coriolis-worker``"""

from __future__ import annotations

from coriolis.cmd import assembly


def main() -> int:
    """Runs until a signal; then lets attempts finish or hands them over."""
    return assembly.serve(
        "coriolis-worker",
        "Runs the tasks that it is given: reads, writes and converts disks, starts machines. Needs no database.",
        lambda conf: [assembly.worker(conf, assembly.broker(conf))],
    )
