# SPDX-License-Identifier: Apache-2.0
"""Serves an nbdkit plugin on a private unix socket."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from coriolis.providers.api import Context, Unavailable

_START_SECONDS = 20.0
_POLL_SECONDS = 0.005


@contextlib.contextmanager
def serve(plugin: str, arguments: list[str], context: Context) -> Iterator[str]:
    """Yields the NBD URI of ``nbdkit PLUGIN ARGUMENTS``; the server ends with the block, or with this thread.

    :raises Unavailable: nbdkit is missing, or did not start
    """
    program = shutil.which("nbdkit")
    if program is None:
        raise Unavailable("nbdkit is not installed on this worker (Debian package nbdkit).")
    # Not in context.scratch: the path of a unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="cor-null-") as folder:
        socket, ready = Path(folder, "sock"), Path(folder, "pid")
        command = [program, "-f", "--exit-with-parent", "-U", str(socket), "-P", str(ready), plugin, *arguments]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _wait(server, ready, context)
            yield f"nbd+unix:///?socket={socket}"
        finally:
            server.kill()
            server.communicate()


def _wait(server: subprocess.Popen[str], ready: Path, context: Context) -> None:
    limit = time.monotonic() + _START_SECONDS
    while not ready.exists():
        context.check_cancelled()
        if server.poll() is not None:
            words = server.communicate()[1].strip()
            raise Unavailable(f"nbdkit did not start: {words[-500:]}")
        if time.monotonic() > limit:
            raise Unavailable(f"nbdkit was not ready after {_START_SECONDS:.0f} s.")
        time.sleep(_POLL_SECONDS)
