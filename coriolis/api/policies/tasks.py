# SPDX-License-Identifier: Apache-2.0
"""Who may look at tasks."""

from __future__ import annotations

from coriolis.runtime.policy import READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List the tasks of a migration."),
    ("show", READER, "Show a task."),
)
