# SPDX-License-Identifier: Apache-2.0
"""Who may do what with bandwidth budgets: they are the operator's."""

from __future__ import annotations

from coriolis.runtime.policy import ADMIN

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", ADMIN, "List bandwidth budgets."),
    ("show", ADMIN, "Show a bandwidth budget and what uses it."),
    ("create", ADMIN, "Create a bandwidth budget."),
    ("update", ADMIN, "Update a bandwidth budget; running copies feel it."),
    ("delete", ADMIN, "Delete a bandwidth budget."),
)
