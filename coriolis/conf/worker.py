# SPDX-License-Identifier: Apache-2.0
"""Options of coriolis-worker."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "worker"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.IntOpt("slots", default=8, min=1, max=1024, help="Attempts that this worker runs at the same time."),
    cfg.ListOpt(
        "providers",
        default=[],
        help="Providers that this worker offers. Empty: all that are installed on it, without those of the test suites "
        "(null, fake), which have to be named.",
    ),
    cfg.FloatOpt(
        "cancel_grace_seconds",
        default=5.0,
        min=0.0,
        help="How long a cancelled attempt may tidy up before it is terminated; it is killed after as long again.",
    ),
    cfg.FloatOpt(
        "drain_seconds",
        default=60.0,
        min=0.0,
        help="How long a stopping worker lets attempts finish. What is left then goes back and is resumed elsewhere.",
    ),
    cfg.IntOpt(
        "copy_requests",
        default=6,
        min=1,
        max=256,
        help="Reads of 1 MiB in flight for one disk. A source far away wants more: its rate is at most this many MiB "
        "per round trip.",
    ),
    cfg.FloatOpt(
        "copy_stall_seconds",
        default=120.0,
        min=1.0,
        help="A copy in which no byte moves for so long fails and is tried again.",
    ),
    cfg.BoolOpt(
        "mirror_journals",
        default=True,
        help="Keep copy journals with the conductor too, so that another worker goes on with a copy whose worker is "
        "lost: 64 bytes per MiB of disk in the database. Without it, such a copy reads and compares everything again.",
    ),
    cfg.IntOpt(
        "journal_days",
        default=14,
        min=1,
        help="Copy journals on this host are removed when nothing was written to them for so many days.",
    ),
    cfg.StrOpt(
        "verify",
        default="full",
        choices=[
            ("none", "Trust the write."),
            ("sample", "Read back one leaf in sixteen."),
            ("full", "Read back the whole target and compare it with what was read from the source."),
        ],
        help="How a copied disk is checked against its source.",
    ),
)
