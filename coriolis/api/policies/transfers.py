# SPDX-License-Identifier: Apache-2.0
"""Who may do what with transfers."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List transfers."),
    ("show", READER, "Show a transfer."),
    ("create", MEMBER, "Create a transfer."),
    ("update", MEMBER, "Update a transfer."),
    ("delete", MEMBER, "Delete a transfer."),
    ("delete_disks", MEMBER, "Delete the disks of a transfer."),
)
