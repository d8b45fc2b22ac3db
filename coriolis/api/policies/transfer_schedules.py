# SPDX-License-Identifier: Apache-2.0
"""Who may do what with the schedules of transfers."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List the schedules of a transfer."),
    ("show", READER, "Show a schedule of a transfer."),
    ("create", MEMBER, "Create a schedule of a transfer."),
    ("update", MEMBER, "Update a schedule of a transfer."),
    ("delete", MEMBER, "Delete a schedule of a transfer."),
)
