# SPDX-License-Identifier: Apache-2.0
"""How things of ours are marked in a cloud, so that they are found again by the key they were made with.

Everything carries ``KEY`` = tag in its metadata (volumes, snapshots, images, servers), or ``tag`` as a tag (ports,
floating addresses), or ends its name in it (keypairs).
"""

from __future__ import annotations

import hashlib
import re

PREFIX = "coriolis-"
KEY = "coriolis_key"  # name of the metadata item, or image property
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")


def tag(key: str) -> str:
    """What we mark things of ``key`` with: readable when the key is plain and short, otherwise a digest of it. At most
    60 characters, as a Neutron or Nova tag and a metadata value may have."""
    if _PLAIN_KEY.fullmatch(key):
        return f"{PREFIX}{key}"
    return f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def metadata(key: str) -> dict[str, str]:
    return {KEY: tag(key)}
