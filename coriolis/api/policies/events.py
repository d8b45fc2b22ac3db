# SPDX-License-Identifier: Apache-2.0
"""Who may look at events."""

from __future__ import annotations

from coriolis.runtime.policy import READER

RULES: tuple[tuple[str, str, str], ...] = (("list", READER, "List the events of a migration."),)
