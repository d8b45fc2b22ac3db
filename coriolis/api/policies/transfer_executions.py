# SPDX-License-Identifier: Apache-2.0
"""Who may do what with executions of transfers."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List the executions of a transfer."),
    ("show", READER, "Show an execution with its tasks."),
    ("create", MEMBER, "Execute a transfer."),
    ("cancel", MEMBER, "Cancel an execution, or retry the instances that it did not complete."),
    ("delete", MEMBER, "Delete an execution that has ended."),
)
