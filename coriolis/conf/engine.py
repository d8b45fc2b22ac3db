# SPDX-License-Identifier: Apache-2.0
"""Options of coriolis-conductor and coriolis-scheduler."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "engine"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt(
        "lease_seconds",
        default=30.0,
        min=2.0,
        help="A worker that is silent for so long is dead, and its tasks go to others. Workers stop their own "
        "attempts before it has run out.",
    ),
    cfg.FloatOpt(
        "sync_seconds", default=5.0, min=0.2, help="How often a worker reports: a third of the lease at most."
    ),
    cfg.FloatOpt(
        "quarantine_seconds",
        default=60.0,
        min=0.0,
        help="How long a request that a worker sent before it was lost may still be carried out by a platform. What "
        "it may have made is looked for, and removed, once more after that; the migration ends no earlier.",
    ),
    cfg.FloatOpt(
        "poll_seconds",
        default=3.0,
        min=0.1,
        help="How often the loops look for work that no message announced. A lost message costs this long.",
    ),
    cfg.IntOpt("batch_size", default=100, min=1, max=1000, help="Rows that one turn of a loop takes."),
    cfg.IntOpt("tasks_per_endpoint", default=64, min=1, help="Tasks that run at the same time against one endpoint."),
    cfg.IntOpt(
        "retention_days",
        default=0,
        min=0,
        help="Finished migrations are deleted after so many days. 0 keeps them until they are deleted by hand.",
    ),
)
