# SPDX-License-Identifier: Apache-2.0
"""Moves bytes between a local socket and one way of a link. Blocks; each function has a thread of its own.

Each way has a connection of its own, because an OpenSSL connection must not be used by two threads at once, and one
that is used by a single thread needs no waiting for readiness.
"""

from __future__ import annotations

import contextlib
import socket

from coriolis.dataplane.link.frames import HEADER, MOST, RAW, Mode, Packer, Unpacker, header, parse
from coriolis.dataplane.link.secure import Way

_LEAST = HEADER.size


def outwards(local: socket.socket, link: Way, mode: Mode) -> None:
    """Until the local side ends. :raises OSError: either side broke off"""
    buffer = memoryview(bytearray(_LEAST + MOST))
    body = buffer[_LEAST:]
    packer = Packer(mode)
    while length := _gather(local, body):
        kind, packed = packer.pack(body[:length])
        if kind == RAW:
            buffer[:_LEAST] = header(RAW, length, length)
            link.sendall(buffer[: _LEAST + length])
        else:
            link.sendall(header(kind, len(packed), length) + bytes(packed))


def inwards(link: Way, local: socket.socket) -> None:
    """Until the link ends. :raises OSError: either side broke off. :raises BadFrame: the peer talks nonsense"""
    head = memoryview(bytearray(_LEAST))
    buffer = memoryview(bytearray(MOST))
    unpacker = Unpacker()
    while fill(link, head):
        kind, wire, plain = parse(head)
        if not fill(link, buffer[:wire]):
            raise ConnectionResetError("the link ended inside of a frame")
        local.sendall(unpacker.unpack(kind, buffer[:wire], plain))


def _gather(local: socket.socket, body: memoryview) -> int:
    """Waits for something, and takes what else is there, up to a whole frame."""
    length = local.recv_into(body)
    with contextlib.suppress(BlockingIOError):
        while 0 < length < body.nbytes:
            more = local.recv_into(body[length:], 0, socket.MSG_DONTWAIT)
            if not more:
                break
            length += more
    return length


def fill(link: Way, view: memoryview) -> bool:
    """Reads as much as the view holds; False: the link ended before the first byte."""
    done = 0
    while done < view.nbytes:
        length = link.recv_into(view[done:])
        if not length:
            if done:
                raise ConnectionResetError("the link ended inside of a frame")
            return False
        done += length
    return True
