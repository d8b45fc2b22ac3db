# SPDX-License-Identifier: Apache-2.0
"""Who may do what with deployments."""

from __future__ import annotations

from coriolis.runtime.policy import MEMBER, READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List deployments."),
    ("show", READER, "Show a deployment with its tasks."),
    ("create", MEMBER, "Deploy a transfer."),
    ("cancel", MEMBER, "Cancel a deployment, or retry the instances that it did not complete."),
    ("delete", MEMBER, "Delete a deployment that has ended."),
)
