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
        help="Reads of 1 MiB in flight for one disk at first. A source that turns out to be far away gets more by "
        "itself, as far as copy_memory_mib allows.",
    ),
    cfg.IntOpt(
        "copy_memory_mib",
        default=512,
        min=8,
        help="Memory in MiB for the bytes that are under way in all copies of this worker; each slot may use its "
        "share, at most 64 MiB.",
    ),
    cfg.StrOpt(
        "copy_source_filters",
        default="",
        help="Filters in front of every source that is copied here, for tests and to slow down or to look into a copy: "
        "'delay:read_ms=5;rate:bytes_per_second=50000000'. There are rate, delay, retry, fault, fault-at, cut, hang "
        "and stats.",
    ),
    cfg.StrOpt(
        "copy_sink_filters",
        default="",
        help="As copy_source_filters, in front of every target that is an NBD export.",
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
        "lost: 64 bytes per MiB of disk in the database. Without it, such a copy begins anew.",
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
