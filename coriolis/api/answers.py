# SPDX-License-Identifier: Apache-2.0
"""What a handler may give instead of something to be shown as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A whole body that is no JSON, for example CSV."""

    body: str
    content_type: str


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A body that is made while it is sent. The generator is closed when the client goes away."""

    chunks: Iterator[bytes]
    content_type: str
