# SPDX-License-Identifier: Apache-2.0
"""The socket between the agent and a child: one JSON object per line, both ways. Disk bytes never pass here.

agent -> child   {"job": {...}} once, {"cancel": true}, {"reply": n, "value": ... | "error": ...},
                 {"pace": [bytes per second or null, back-off factor or null]}
child -> agent   {"started": clock}, {"log": {...}}, {"mask": [...]}, {"progress": {...}}, {"event": [level, text]},
                 {"checkpoint": ...}, {"stream": {...}},
                 {"exported": {...}}, {"ask": n, METHOD: {...}}, {"ask": n, "recall": KEY}, {"keep": [KEY, text]},
                 {"result": {...}}
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

LINE_BYTES = 32 << 20  # a line that is longer is a bug of the sender
_CHUNK = 1 << 16


class Lines:
    """Cuts a stream of bytes into objects."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that is not complete yet
        self._size = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """:raises ValueError: not JSON, or too long a line"""
        first, *more = data.split(b"\n")
        self._keep(first)
        for line in more:
            whole = b"".join(self._pieces)
            self._pieces, self._size = [], 0
            self._keep(line)
            yield json.loads(whole)

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > LINE_BYTES:
            raise ValueError("a line on the channel is too long")


class Channel:
    """The child's end: sends from any thread, receives in one."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self._lines = Lines()

    def send(self, message: dict[str, Any]) -> None:
        """:raises OSError: the agent is gone"""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> Iterator[dict[str, Any]]:
        """Until the agent closes its end."""
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except ConnectionError:
                return
            if not data:
                return
            yield from self._lines.feed(data)
