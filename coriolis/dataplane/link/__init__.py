# SPDX-License-Identifier: Apache-2.0
"""NBD between sites: a relay on each side, and mutual TLS between the two.

::

    export (unix socket) <- relay `offer` <= TLS 1.3, zstd when it pays => relay `reach` <- NBD client (unix socket)

An NBD server that listens on a local socket is offered to one named peer elsewhere; there a relay gives it a local
socket again, so that the engine, QEMU and libnbd read and write it as if it were at hand. TLS is OpenSSL's, several
times faster than that inside of NBD clients. Without credentials there is no link, unless the caller asks for clear
text by name, which is said in the log.
"""

from __future__ import annotations

from coriolis.dataplane.link.credentials import CLEAR, BadCredentials, Clear, Credentials
from coriolis.dataplane.link.process import ANY_PORT, LinkFailed, Offer, Reached, offer, reach

__all__ = [
    "ANY_PORT",
    "CLEAR",
    "BadCredentials",
    "Clear",
    "Credentials",
    "LinkFailed",
    "Offer",
    "Reached",
    "offer",
    "reach",
]
