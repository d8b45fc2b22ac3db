# SPDX-License-Identifier: Apache-2.0
"""Times on the wire: naive UTC, always six digits of microseconds, no zone."""

from __future__ import annotations

import datetime as dt
from typing import Any


def text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%f")


def stamps(created_at: dt.datetime, updated_at: dt.datetime | None) -> dict[str, Any]:
    """The four keys that every object of the contract has. Nothing is soft-deleted: the last two are constants."""
    return {
        "created_at": text(created_at),
        "updated_at": text(updated_at),
        "deleted_at": None,
        "deleted": "0",
    }
