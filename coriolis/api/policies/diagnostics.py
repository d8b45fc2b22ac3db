# SPDX-License-Identifier: Apache-2.0
"""Who may look at diagnostics: they name hosts, addresses and releases."""

from __future__ import annotations

from coriolis.runtime.policy import ADMIN

RULES: tuple[tuple[str, str, str], ...] = (("get", ADMIN, "Show what each running process runs on."),)
