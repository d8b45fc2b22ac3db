# SPDX-License-Identifier: Apache-2.0
"""Who may look at providers."""

from __future__ import annotations

from coriolis.runtime.policy import READER

RULES: tuple[tuple[str, str, str], ...] = (
    ("list", READER, "List providers."),
    ("show_schemas", READER, "Show the schemas of a provider."),
)
