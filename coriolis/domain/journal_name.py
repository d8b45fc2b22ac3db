# SPDX-License-Identifier: Apache-2.0
"""How a copy's journal is called at the conductor."""

from __future__ import annotations

import hashlib
import json


def name_of(instance: str, disk: str, volume: str, era: int = 0) -> str:
    """Of the journal in its job: 64 hex digits. ``volume``: the platform's reference, since what is known of one volume
    says nothing of another one. ``era``: that of the replica."""
    parts = [instance, disk, volume, era] if era else [instance, disk, volume]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
