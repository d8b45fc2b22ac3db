# SPDX-License-Identifier: Apache-2.0
"""Two changes at once: the second one was made up for something that is no more."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from coriolis.domain.errors import Conflict


class Stamped(Protocol):
    @property
    def updated_at(self) -> dt.datetime | None: ...


def check_unchanged(noun: str, held: Stamped, seen: Stamped | None) -> None:
    """``held``: nobody else changes it now. ``seen``: as it was when the change was made up; None: no matter.

    :raises Conflict: somebody has changed it meanwhile
    """
    if seen is not None and held.updated_at != seen.updated_at:
        raise Conflict(f"The {noun} was changed at the same moment. Look at it, and send your change again.")
