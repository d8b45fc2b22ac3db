# SPDX-License-Identifier: Apache-2.0
"""Who may do what with migrations."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List migrations."),
    ("show", READER, "Show a migration with its tasks."),
    ("create", MEMBER, "Create and start a migration."),
    ("cancel", MEMBER, "Cancel a migration, or retry the instances that it did not complete."),
    ("delete", MEMBER, "Delete a migration that has ended."),
)
