# SPDX-License-Identifier: Apache-2.0
"""What a connection leaves for later ones to the same platform account, such as a token: in the memory of this process,
for minutes. Every attempt is a process of its own, and would otherwise ask for everything anew."""

from __future__ import annotations

import hashlib
import json
import threading

from cachetools import TTLCache

from coriolis.domain.codec import to_json
from coriolis.rpc.messages import Endpoint

SECONDS = 300.0  # no right that was taken away, or given, is overlooked for longer
MOST = 256  # accounts
LONGEST = 1 << 18  # characters


class Keepsakes:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: TTLCache[str, str] = TTLCache(MOST, SECONDS)

    def read(self, key: str) -> str | None:
        with self._lock:
            return self._texts.get(key)

    def write(self, key: str, text: str) -> None:
        """Too long a text is not kept."""
        with self._lock:
            if len(text) <= LONGEST:
                self._texts[key] = text


def key_of(endpoint: Endpoint) -> str | None:
    """None: nothing is kept of an account that one question alone may use."""
    if endpoint.token is not None:
        return None
    return hashlib.sha256(json.dumps(to_json(endpoint), sort_keys=True).encode()).hexdigest()
