# SPDX-License-Identifier: Apache-2.0
"""Ask the guest on its serial console, through libvirt, as `virsh console` would."""

from __future__ import annotations

import re
import time
from typing import Any

import libvirt

READ_BYTES = 4096
# How long one look at the console waits for more, in seconds.
PAUSE = 0.2


class SilentGuest(Exception):
    """The guest did not say what was awaited; the message has the end of what it said."""


def connect(uri: str) -> libvirt.virConnect:
    """A connection on which a conversation is possible: what a guest says arrives in libvirt's event loop."""
    libvirt.virEventRegisterDefaultImpl()
    # Wakes the loop up when nothing happens, so that a look at the console takes PAUSE at most.
    libvirt.virEventAddTimeout(int(PAUSE * 1000), lambda *_: None, None)
    return libvirt.open(uri)


class Conversation:
    """An open console of a running domain, on a connection of `connect`. For one thread."""

    def __init__(self, connection: libvirt.virConnect, domain: libvirt.virDomain) -> None:
        self._stream: Any = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        domain.openConsole(None, self._stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        self.heard = ""

    def ask(self, line: str) -> None:
        """Type a line."""
        data = line.encode() + b"\n"
        while data:
            sent = self._stream.send(data)
            if sent == -2:  # would block
                libvirt.virEventRunDefaultImpl()
            else:
                data = data[sent:]

    def listen(self, pattern: str, seconds: float, nudge_after: float | None = None) -> re.Match[str]:
        """Wait until something that matches has been said since the conversation began.

        :param nudge_after: press Enter when nothing has been heard for so many seconds. Not sooner: what is typed
            while a guest starts can stop its serial port
        :raises SilentGuest: it was not said in time
        """
        end = time.monotonic() + seconds
        silent_since = time.monotonic()
        while not (match := re.search(pattern, self.heard)):
            now = time.monotonic()
            if now > end:
                raise SilentGuest(f"Waited {seconds:.0f} s for {pattern!r}; heard: {self.heard[-1000:]!r}")
            if self._hear():
                silent_since = now
            elif nudge_after is not None and now - silent_since > nudge_after:
                self.ask("")
                silent_since = now
        return match

    def _hear(self) -> bool:
        """Take what has been said; wait a little when it is nothing."""
        said = self._stream.recv(READ_BYTES)
        if isinstance(said, int):  # -2: nothing to read now
            libvirt.virEventRunDefaultImpl()
            return False
        if not said:
            raise SilentGuest(f"The console was closed; heard: {self.heard[-1000:]!r}")
        self.heard += said.decode(errors="replace")
        return True

    def close(self) -> None:
        self._stream.abort()
