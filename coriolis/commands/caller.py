# SPDX-License-Identifier: Apache-2.0
"""On whose behalf a command runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A user in a project. ``is_admin`` opens objects of other projects. ``trust_id``: the user's leave for the job
    that is submitted (``commands.trusts``)."""

    user_id: str
    project_id: str
    is_admin: bool = False
    request_id: str | None = None
    trust_id: str | None = None

    @property
    def scope(self) -> str | None:
        """The project that reads are confined to, or None for all."""
        return None if self.is_admin else self.project_id
