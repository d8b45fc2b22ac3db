# SPDX-License-Identifier: Apache-2.0
"""Filters that stack between the engine and an NBD export, on either side: rate, delay, fault.

`filtered` puts an nbdkit in front of an export and gives the address of the result, so whatever takes an NBD URI can be
slowed down or broken, in tests and by operators. The first filter of the list is nearest to the engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from coriolis.dataplane.errors import DataplaneError
from coriolis.dataplane.server import ServerFailed, private_folder, serve

Command = Literal["pread", "pwrite", "zero", "extents", "flush"]


class FilterFailed(DataplaneError):
    """A filter cannot be put in front of this export."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """At most so many bytes per second, each connection for itself."""

    bytes_per_second: int

    def arguments(self) -> tuple[str, list[str]]:
        return "rate", [f"connection-rate={self.bytes_per_second * 8}"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delay:
    """Waits before each read and each write, in milliseconds."""

    read_ms: int = 0
    write_ms: int = 0

    def arguments(self) -> tuple[str, list[str]]:
        return "delay", [f"delay-read={self.read_ms}ms", f"delay-write={self.write_ms}ms"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """Fails a share of one kind of command with an error, from the moment that ``trigger`` exists, or always."""

    command: Command
    error: Literal["EIO", "ENOSPC", "EINVAL", "EPERM"] = "EIO"
    share: float = 1.0
    trigger: Path | None = None

    def arguments(self) -> tuple[str, list[str]]:
        arguments = [f"error-{self.command}={self.error}", f"error-{self.command}-rate={self.share}"]
        if self.trigger is not None:
            arguments.append(f"error-{self.command}-file={self.trigger}")
        return "error", arguments


Filter = Rate | Delay | Fault


@contextlib.contextmanager
def filtered(uri: str, *filters: Filter) -> Iterator[str]:
    """Yields the URI of ``uri``'s export behind ``filters``, for as long as the block lasts."""
    command = ["nbdkit", "--foreground", "--exit-with-parent", "--threads=32"]
    settings: list[str] = []
    for item in filters:
        name, arguments = item.arguments()
        command.append(f"--filter={name}")
        settings += arguments
    with private_folder() as folder:
        command += ["--unix", str(folder / "nbd"), "--pidfile", str(folder / "pid"), "nbd", f"uri={uri}", *settings]
        try:
            with serve(command, folder) as server:
                yield server.uri
        except ServerFailed as error:
            raise FilterFailed(f"nbdkit did not start: {error.reason}") from None
