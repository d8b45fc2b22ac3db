# SPDX-License-Identifier: Apache-2.0
"""An NBD proxy that breaks things on purpose: errors at an offset or after some bytes, cut and hung connections.

A program: ``python -m coriolis.dataplane.filters.breaker LISTEN UPSTREAM READY RULES``, unix sockets both, RULES as
JSON (see `Rule`). It passes bytes on and reads along: the client's side to see which command comes, the server's to
put an answer of its own between two of the server's. Numbers are those of the NBD protocol, doc/proto.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OPTION = struct.Struct(">8sII")  # IHAVEOPT, option, length
_OPTION_REPLY = struct.Struct(">8sIII")  # magic, option, type, length
_REQUEST = struct.Struct(">IHHQQI")  # magic, flags, type, cookie, offset, length
_SIMPLE = struct.Struct(">IIQ")  # magic, error, cookie
_CHUNK = struct.Struct(">IHHQI")  # magic, flags, type, cookie, length
_SIMPLE_MAGIC, _CHUNK_MAGIC = 0x67446698, 0x668E33EF
_ERROR_CHUNK, _DONE_FLAG = 0x8001, 1
_OPT_EXPORT_NAME, _OPT_STARTTLS, _OPT_GO, _OPT_STRUCTURED, _REP_ACK = 1, 5, 7, 8, 1
_WRITE, _DISCONNECT = 1, 2
COMMANDS = {"pread": 0, "pwrite": 1, "flush": 3, "trim": 4, "zero": 6, "extents": 7}
_STEP = 1 << 18


@dataclasses.dataclass(kw_only=True)
class Rule:
    """When to do what. ``command``: a name of `COMMANDS`, or "any". ``action``: "error", "cut" or "hang".

    ``offset``: a command that touches this byte; ``after_bytes``: once so many bytes were asked for by such commands,
    over all connections. With neither, every such command. ``times``: how often, None for ever.
    """

    command: str
    action: str
    code: int = errno.EIO
    offset: int | None = None
    after_bytes: int | None = None
    times: int | None = None


class Rules:
    """Shared by all connections."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._seen = [0] * len(rules)
        self._lock = threading.Lock()

    def hit(self, command: int, offset: int, length: int) -> Rule | None:
        """The first rule that this command breaks."""
        with self._lock:
            found = None
            for number, rule in enumerate(self._rules):
                if rule.command != "any" and COMMANDS[rule.command] != command:
                    continue
                self._seen[number] += length
                if found is None and self._applies(number, rule, offset, length):
                    found = rule
                    if rule.times is not None:
                        rule.times -= 1
            return found

    def _applies(self, number: int, rule: Rule, offset: int, length: int) -> bool:
        if rule.times == 0:
            return False
        if rule.offset is not None and not offset <= rule.offset < offset + max(length, 1):
            return False
        return rule.after_bytes is None or self._seen[number] > rule.after_bytes


class Closed(Exception):
    """One side is gone."""


class Connection:
    """One client and its connection to the server, a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket, rules: Rules) -> None:
        self._client, self._server, self._rules = client, server, rules
        self._write = threading.Lock()  # held while a message goes to the client
        self._reads: dict[int, tuple[int, int]] = {}  # cookie -> type and length of what the server was asked
        self._structured = False
        self._hung = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, args=(self._handshake,), daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(Closed, OSError):
            work()
        if not self._hung.is_set():
            self._close()

    def _close(self) -> None:
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _handshake(self) -> None:
        """Options go back and forth, one at a time, until one of them starts the transmission."""
        self._client.sendall(_exactly(self._server, 18))
        self._server.sendall(_exactly(self._client, 4))
        while True:
            head = _exactly(self._client, _OPTION.size)
            _magic, option, length = _OPTION.unpack(head)
            if option in (_OPT_EXPORT_NAME, _OPT_STARTTLS):
                raise Closed  # an old client, or one that hides what it says
            self._server.sendall(head + _exactly(self._client, length))
            agreed = self._replies()
            self._structured |= agreed and option == _OPT_STRUCTURED
            if agreed and option == _OPT_GO:
                break
        threading.Thread(target=self._run, args=(self._answers,), daemon=True).start()
        self._requests()

    def _replies(self) -> bool:
        """Passes the server's replies to one option on; True when it ended well."""
        while True:
            head = _exactly(self._server, _OPTION_REPLY.size)
            _magic, _option, kind, length = _OPTION_REPLY.unpack(head)
            self._client.sendall(head + _exactly(self._server, length))
            if kind == _REP_ACK or kind >= 1 << 31:
                return kind == _REP_ACK

    def _requests(self) -> None:
        while True:
            head = _exactly(self._client, _REQUEST.size)
            _magic, _flags, kind, cookie, offset, length = _REQUEST.unpack(head)
            rule = None if kind == _DISCONNECT else self._rules.hit(kind, offset, length)
            if rule is not None and rule.action == "cut":
                raise Closed
            if rule is not None and rule.action == "hang":
                self._hung.set()
                raise Closed
            if rule is not None:
                _discard(self._client, length if kind == _WRITE else 0)
                self._refuse(kind, cookie, rule.code)
                continue
            self._reads[cookie] = (kind, length)
            self._server.sendall(head)
            if kind == _WRITE:
                _pass(self._client, self._server, length)

    def _refuse(self, kind: int, cookie: int, code: int) -> None:
        """With structured replies, which most clients ask for, a read must get one; the others may."""
        with self._write:
            if self._structured and kind in (0, 7):
                payload = struct.pack(">IH", code, 0)
                head = _CHUNK.pack(_CHUNK_MAGIC, _DONE_FLAG, _ERROR_CHUNK, cookie, len(payload))
                self._client.sendall(head + payload)
            else:
                self._client.sendall(_SIMPLE.pack(_SIMPLE_MAGIC, code, cookie))

    def _answers(self) -> None:
        while True:
            magic = _exactly(self._server, 4)
            if self._hung.is_set():
                return
            with self._write:
                if struct.unpack(">I", magic)[0] == _CHUNK_MAGIC:
                    rest = _exactly(self._server, _CHUNK.size - 4)
                    length = struct.unpack(">HHQI", rest)[3]
                else:
                    rest = _exactly(self._server, _SIMPLE.size - 4)
                    code, cookie = struct.unpack(">IQ", rest)
                    kind, asked = self._reads.get(cookie, (-1, 0))
                    length = asked if kind == 0 and not code else 0
                self._client.sendall(magic + rest)
                _pass(self._server, self._client, length)


def _exactly(side: socket.socket, length: int) -> bytes:
    """So many bytes; raises `Closed` at the end of the stream."""
    data = bytearray()
    while len(data) < length:
        some = side.recv(length - len(data))
        if not some:
            raise Closed
        data += some
    return bytes(data)


def _pass(source: socket.socket, target: socket.socket, length: int) -> None:
    while length:
        data = _exactly(source, min(length, _STEP))
        target.sendall(data)
        length -= len(data)


def _discard(side: socket.socket, length: int) -> None:
    while length:
        length -= len(_exactly(side, min(length, _STEP)))


def serve(listen: str, upstream: str, ready: str, rules: Rules) -> None:
    """Accepts connections for ever; ``ready`` is written when the first may come."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(listen)
        listener.listen(16)
        Path(ready).write_text(str(os.getpid()))
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(upstream)
            except OSError:
                client.close()
                continue
            Connection(client, server, rules).start()


def main() -> None:
    listen, upstream, ready, text = sys.argv[1:]
    items: list[dict[str, Any]] = json.loads(text)
    serve(listen, upstream, ready, Rules([Rule(**item) for item in items]))


if __name__ == "__main__":
    main()
