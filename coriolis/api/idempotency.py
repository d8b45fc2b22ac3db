# SPDX-License-Identifier: Apache-2.0
"""The digest by which a repeated create is told from another one."""

from __future__ import annotations

import json
from typing import Any

from coriolis.runtime.secrets import Vault


def request_hash(vault: Vault, noun: str, body: Any) -> str:
    """Keyed, since bodies hold passwords; the order of keys does not matter."""
    text = json.dumps([noun, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return vault.fingerprint(text.encode("ascii"))
