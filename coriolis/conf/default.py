# SPDX-License-Identifier: Apache-2.0
"""Options that every service reads."""

from __future__ import annotations

import socket

from oslo_config import cfg

GROUP = "DEFAULT"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<this host's name>",
        help="Name of this host, as it appears on tasks. Checkpoints are tied to it: keep it over restarts.",
    ),
    cfg.StrOpt(
        "state_path",
        default="/var/lib/coriolis",
        help="Directory of what must survive a restart: copy journals, and the database of a standalone.",
    ),
    cfg.ListOpt("regions", default=[], help="Regions that this host's worker stands in."),
)
