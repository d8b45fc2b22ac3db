# SPDX-License-Identifier: Apache-2.0
"""Who may do what with minion pools."""

from __future__ import annotations

from coriolis.runtime.policy import ADMIN, MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List minion pools."),
    ("list_all_projects", ADMIN, "List the minion pools of all projects."),
    ("show", READER, "Show a minion pool with its machines."),
    ("create", MEMBER, "Create a minion pool."),
    ("update", MEMBER, "Update a minion pool without machines."),
    ("delete", MEMBER, "Delete a minion pool without machines."),
    ("allocate", MEMBER, "Make the machines of a minion pool."),
    ("refresh", MEMBER, "Check the machines of a minion pool."),
    ("deallocate", MEMBER, "Remove the machines of a minion pool."),
)
