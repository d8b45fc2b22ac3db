# SPDX-License-Identifier: Apache-2.0
"""Who may do what with services. They belong to no project."""

from __future__ import annotations

from coriolis.runtime.policy import ADMIN

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", ADMIN, "List the hosts with workers."),
    ("show", ADMIN, "Show a host with workers."),
    ("create", ADMIN, "Make a host known before its first worker registers."),
    ("update", ADMIN, "Enable or disable a host, or map it to regions."),
    ("delete", ADMIN, "Forget a host without a connected worker."),
)
