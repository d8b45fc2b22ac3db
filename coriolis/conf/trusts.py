# SPDX-License-Identifier: Apache-2.0
"""Options of Keystone trusts. How the trustee proves itself is in section [trustee]."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "trusts"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.ListOpt(
        "roles",
        default=[],
        help="Roles that users hand on to their jobs, as far as they have them. Empty: all of the token's.",
    ),
    cfg.IntOpt(
        "lifetime_hours",
        default=0,
        min=0,
        help="A trust ends after so long even if its work does not. 0: it lasts as long as its work.",
    ),
)
