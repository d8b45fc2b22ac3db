# SPDX-License-Identifier: Apache-2.0
"""A connection to a far export that only reads, for the engine: bytes are decrypted into the memory of its leaves.

Through a relay each byte would pass one more process and two more sockets on this side. Here a thread of ours speaks
NBD over the two ways of a link (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md: fixed newstyle,
``NBD_OPT_GO``, simple replies). The other side sees a connection like any other.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import struct
import threading
from collections.abc import Callable

from coriolis.dataplane.link.frames import HEADER, MOST, RAW, BadFrame, Unpacker, header, parse
from coriolis.dataplane.link.greeting import FROM, SECONDS, TO, Hello, Refused
from coriolis.dataplane.link.pump import fill
from coriolis.dataplane.link.secure import Way

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_MAGIC, _OPTIONS = b"NBDMAGIC", b"IHAVEOPT"
_OPTION_REPLY_MAGIC, _REQUEST_MAGIC, _REPLY_MAGIC = 0x3E889045565A9, 0x25609513, 0x67446698
_FIXED, _NO_ZEROES = 1, 2
_GO, _ACK = 7, 1
_MOST_REPLY = 64 << 10  # bytes of an answer to an option

#: Called in a thread, with an errno: 0 when the bytes are there.
Done = Callable[[int], None]


class Channel:
    """``read`` is for one thread; answers come in any order. It ends by itself when the link does."""

    def __init__(self, dial: Callable[[Hello], Way], export: str) -> None:
        """:raises Refused: by either side. :raises OSError: nobody is there"""
        pair = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._pending: dict[int, tuple[memoryview, Done]] = {}
        self._number = 0
        self._ended = False
        self._to = dial(Hello(way=TO, id=pair))
        try:
            self._from = dial(Hello(way=FROM, id=pair))
        except BaseException:
            self._to.close()
            raise
        self._stream = _Stream(self._from)
        try:
            self._from.settimeout(SECONDS)  # an export may have room for one client only, and let others wait
            self._negotiate(export.encode())
            self._from.settimeout(None)
        except (BadFrame, OSError) as error:
            self.close()
            raise Refused(f"the export there does not answer as it should: {error}") from None
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._receive, name="link", daemon=True).start()

    def read(self, view: memoryview, offset: int, done: Done) -> None:
        """Asks for as many bytes as ``view`` holds; it must stay as it is until ``done``."""
        with self._lock:
            if not self._ended:
                self._number += 1
                self._pending[self._number] = view, done
                with contextlib.suppress(OSError):  # the thread that receives finds that out, too
                    self._send(_REQUEST.pack(_REQUEST_MAGIC, 0, 0, self._number, offset, view.nbytes))
                return
        done(errno.ECONNRESET)

    def close(self) -> None:
        for way in (self._to, self._from):
            with contextlib.suppress(OSError):
                way.cut()

    def _send(self, data: bytes) -> None:
        self._to.sendall(header(RAW, len(data), len(data)) + data)

    def _receive(self) -> None:
        try:
            while True:
                magic, error, number = _REPLY.unpack(self._stream.take(_REPLY.size))
                view, done = self._pending[number]
                if magic != _REPLY_MAGIC:
                    raise BadFrame("that is no reply")
                if not error:
                    self._stream.fill(view)
                del self._pending[number]
                done(error)
        except (OSError, BadFrame, KeyError):
            self._end()

    def _end(self) -> None:
        self.close()  # ends a send that waits
        with self._lock:
            self._ended = True
            left = list(self._pending.values())
            self._pending.clear()
            self._to.close()
            self._from.close()
        for _, done in left:
            done(errno.ECONNRESET)

    def _negotiate(self, export: bytes) -> None:
        magic, options, flags = _GREETING.unpack(self._stream.take(_GREETING.size))
        if magic != _MAGIC or options != _OPTIONS or not flags & _FIXED:
            raise BadFrame("it is no NBD server of our time")
        data = struct.pack(">I", len(export)) + export + struct.pack(">H", 0)
        self._send(struct.pack(">I", flags & (_FIXED | _NO_ZEROES)) + _OPTION.pack(_OPTIONS, _GO, len(data)) + data)
        while True:
            magic_, _, kind, length = _OPTION_REPLY.unpack(self._stream.take(_OPTION_REPLY.size))
            if magic_ != _OPTION_REPLY_MAGIC or length > _MOST_REPLY:
                raise BadFrame("that is no answer to an option")
            text = self._stream.take(length)
            if kind == _ACK:
                return
            if kind >> 31:
                raise BadFrame(bytes(text).decode(errors="replace") or f"error {kind & 0x7FFFFFFF}")


class _Stream:
    """The bytes in the frames of one way."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._head = memoryview(bytearray(HEADER.size))
        self._buffer = memoryview(bytearray(MOST))
        self._unpacker = Unpacker()
        self._raw = 0  # bytes of the present frame that are still to come
        self._ready = memoryview(b"")  # what was unpacked and not yet taken

    def take(self, length: int) -> bytearray:
        data = bytearray(length)
        self.fill(memoryview(data))
        return data

    def fill(self, view: memoryview) -> None:
        """:raises ConnectionResetError: the link ended. :raises BadFrame: the peer talks nonsense"""
        done, wanted = 0, view.nbytes
        while done < wanted:
            if self._raw:
                length = self._way.recv_into(view[done : done + min(self._raw, wanted - done)])
                if not length:
                    raise ConnectionResetError("the link ended inside of a frame")
                self._raw -= length
                done += length
            elif self._ready.nbytes:
                some = min(self._ready.nbytes, wanted - done)
                view[done : done + some] = self._ready[:some]
                self._ready = self._ready[some:]
                done += some
            else:
                self._next()

    def _next(self) -> None:
        if not fill(self._way, self._head):
            raise ConnectionResetError("the link ended")
        kind, wire, plain = parse(self._head)
        if kind == RAW:
            self._raw = wire
            return
        if not fill(self._way, self._buffer[:wire]):
            raise ConnectionResetError("the link ended inside of a frame")
        self._ready = memoryview(self._unpacker.unpack(kind, self._buffer[:wire], plain))
