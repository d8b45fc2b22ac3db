# SPDX-License-Identifier: Apache-2.0
"""The two sides of a link, with certificates of an authority made for a test, and somebody on the way between them."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from coriolis.dataplane.link import Credentials
from coriolis.runtime import certificates

SOURCE, DESTINATION = "source.example", "destination.example"
LONG_AGO = dt.timedelta(days=7)


def side(folder: Path, name: str, *, authority: str = "ours", age: dt.timedelta = dt.timedelta()) -> Credentials:
    """What the side of this name proves itself with. ``authority``: who signed it; made when it is new."""
    folder.mkdir(exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    anchor, anchor_key = folder / f"{authority}.pem", folder / f"{authority}.key"
    if anchor.exists():
        signer = certificates.load_authority(anchor, anchor_key)
    else:
        signer = certificates.create_authority(anchor, anchor_key, now=now - LONG_AGO)
    certificate, key = folder / f"{name}-{authority}.pem", folder / f"{name}-{authority}.key"
    certificates.issue(signer, [name], certificate, key, now=now - age)
    return Credentials(certificate=certificate, key=key, authority=folder / "ours.pem")


@contextlib.contextmanager
def eavesdropper(port: int, passed: bytearray) -> Iterator[int]:
    """Listens on a port of its own: passes everything on, and keeps what comes from the source."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(from_: socket.socket, to: socket.socket, keep: bool) -> None:
        with contextlib.suppress(OSError):
            while data := from_.recv(65536):
                if keep:
                    passed.extend(data)
                to.sendall(data)
        for end in (from_, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for ends in ((near, far, False), (far, near, True)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
