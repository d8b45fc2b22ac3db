# SPDX-License-Identifier: Apache-2.0
"""Which cloud is meant: by the address of its Keystone, as the operator's files name it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PORTS = {"https": 443, "http": 80}


def same_keystone(one: str, other: str) -> bool:
    """Whether two addresses lead to the same Keystone: spelling and version make no difference."""
    return _place(one) == _place(other)


def may_speak(auth_url: str, *, verified: bool) -> bool:
    """Whether what answers at the address may speak for its cloud. ``verified``: nothing of the user's vouches for it.
    Over plain HTTP, which the operator must have named as such, there is nothing to prove."""
    return verified or _place(auth_url)[0] != "https"


def _place(url: str) -> tuple[str, str, int, str]:
    parts = urlsplit(url.strip())
    path = re.sub(r"/v[23](\.\d+)?$", "", parts.path.rstrip("/")).rstrip("/")
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower(), 0), path
