# SPDX-License-Identifier: Apache-2.0
"""Tokens that earlier connections of the same user got. Keystone makes a token, and every service has each new one
validated by it: of all that a cloud does for a migration, this costs it the most."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from coriolis.providers.api import Keepsake

_LEAST_SECONDS = 900.0  # of life that a token must still have: services act with it after they have answered


class Tokens:
    """What a session's plugin begins with, and leaves. ``info``: whose they are, and where."""

    def __init__(self, plugin: Any, info: Mapping[str, Any], keepsake: Keepsake) -> None:
        self._plugin, self._keepsake = plugin, keepsake
        self._whose = hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()
        self._known: Any = None

    def begin(self) -> None:
        kept = json.loads(self._keepsake.read() or "{}")
        if kept.get("whose") != self._whose:
            return
        self._plugin.set_auth_state(kept["state"])
        if self._plugin.auth_ref.will_expire_soon(_LEAST_SECONDS):
            self._plugin.invalidate()
        self._known = self._plugin.auth_ref

    def leave(self) -> None:
        """What is new."""
        found = self._plugin.auth_ref
        if found is None or found is self._known:
            return
        self._known = found
        self._keepsake.write(json.dumps({"whose": self._whose, "state": self._plugin.get_auth_state()}))
