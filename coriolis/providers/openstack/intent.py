# SPDX-License-Identifier: Apache-2.0
"""The reference of a server that is not made yet.

Nova starts every server that it makes, so a new instance is made as far as it can be without running: its ports and
its floating address. What is left, one request, is kept in the reference, and sent when the instance is started. The
reference stays the same afterwards: the server is found by the tag in it.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

_PREFIX = "server:"


@dataclass(frozen=True, kw_only=True)
class Intent:
    """``mark``: the tag of the server. ``server``: what openstacksdk's create_server takes. ``flavor``: one that had to
    be made, as planned; servers of the same size share it, and whoever made it may have removed it since."""

    mark: str
    server: dict[str, Any]
    flavor: dict[str, Any] | None = None
    seconds: float = 900.0


def to_ref(intent: Intent) -> str:
    packed = zlib.compress(json.dumps(asdict(intent), sort_keys=True).encode(), 9)
    return _PREFIX + base64.urlsafe_b64encode(packed).decode("ascii")


def from_ref(ref: str) -> Intent | None:
    """None: it is the id of a server."""
    if not ref.startswith(_PREFIX):
        return None
    return Intent(**json.loads(zlib.decompress(base64.urlsafe_b64decode(ref[len(_PREFIX) :]))))
