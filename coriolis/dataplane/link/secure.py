# SPDX-License-Identifier: Apache-2.0
"""TLS on a socket, in large pieces.

Python's own SSLSocket makes a system call, and wakes the other side, for each record of 16 KiB. Here OpenSSL works on
memory, and what it made of a whole frame goes out at once.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

_PIECE = 128 << 10  # read from the socket at a time
_SEND = 64 << 10  # encrypted and sent at a time: what passes through memory twice shall stay in the caches


class SecureSocket:
    """After the handshake, one thread sends or receives; only `cut` may be called by another one.

    ``server_hostname``: the name that the other side has to prove; None on the side that accepts.
    Raises what sockets and `ssl` raise.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None) -> None:
        self._plain = plain
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in, self._out, server_side=server_hostname is None, server_hostname=server_hostname
        )
        self._piece = memoryview(bytearray(_PIECE))
        self._handshake()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            except ssl.SSLError:
                self._flush()  # the other side shall hear why
                raise

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        for start in range(0, view.nbytes, _SEND):
            self._tls.write(view[start : start + _SEND])
            self._plain.sendall(self._out.read())

    def recv_into(self, view: memoryview) -> int:
        """0: the other side has ended."""
        while True:
            try:
                return self._tls.read(view.nbytes, view)  # type: ignore[return-value]  # gives a count
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0

    def _receive(self) -> None:
        length = self._plain.recv_into(self._piece)
        if length:
            self._in.write(self._piece[:length])
        else:
            self._in.write_eof()

    def _flush(self) -> None:
        if self._out.pending:
            self._plain.sendall(self._out.read())

    def certificate(self) -> bytes:
        """The peer's, checked, in DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    def peer(self) -> dict[str, Any] | None:
        return self._tls.getpeercert()

    def settimeout(self, seconds: float | None) -> None:
        self._plain.settimeout(seconds)

    def cut(self) -> None:
        """Ends both directions at once."""
        self._plain.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._plain.close()


class PlainSocket:
    """The same without TLS."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self.sendall, self.recv_into = plain.sendall, plain.recv_into
        self.settimeout, self.close = plain.settimeout, plain.close

    def cut(self) -> None:
        self._plain.shutdown(socket.SHUT_RDWR)


Way = SecureSocket | PlainSocket
