# SPDX-License-Identifier: Apache-2.0
"""Who may do what with regions. They belong to no project, and show what is mapped to them in all."""

from __future__ import annotations

from coriolis.runtime.policy import ADMIN

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", ADMIN, "List regions."),
    ("show", ADMIN, "Show a region and what is mapped to it."),
    ("create", ADMIN, "Create a region."),
    ("update", ADMIN, "Update a region."),
    ("delete", ADMIN, "Delete a region to which nothing is mapped."),
)
