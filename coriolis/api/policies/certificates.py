# SPDX-License-Identifier: Apache-2.0
"""Who may do what with certificates."""

from __future__ import annotations

from coriolis.runtime.policy import READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("show", READER, "Show the signed integrity certificate of a job's execution."),
    ("show_key", READER, "Show the public key that certificates are signed with."),
)
