# SPDX-License-Identifier: Apache-2.0
"""Filters that stack between the engine and an NBD export, on either side: rate, delay, retry, fault, cut, hang, stats.

`filtered` puts servers in front of an export and gives the address of the result, so whatever takes an NBD URI can be
slowed down, broken or watched, in tests and by operators. The first filter of the list is nearest to the engine. Most
are filters of nbdkit; what it cannot do is done by `breaker`, on exports of a unix socket only. An operator writes
them as text, see `parse_filters`, in the options of a worker or for ``python -m coriolis.dataplane.filters``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from coriolis.dataplane.errors import DataplaneError
from coriolis.dataplane.filters.breaker import Rule
from coriolis.dataplane.server import ServerFailed, private_folder, serve

Command = Literal["pread", "pwrite", "zero", "extents", "flush", "trim"]
Error = Literal["EIO", "ENOSPC", "EINVAL", "EPERM", "ENOMEM"]


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
class Retry:
    """Opens the export again, and asks again, when a command fails: so many times, waiting so many seconds at first
    and then twice as long each time. For servers that forget or restart.
    """

    times: int = 5
    seconds: int = 2

    def arguments(self) -> tuple[str, list[str]]:
        return "retry", [f"retries={self.times}", f"retry-delay={self.seconds}"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """Fails a share of one kind of command with an error, from the moment that ``trigger`` exists, or always."""

    command: Command
    error: Error = "EIO"
    share: float = 1.0
    trigger: Path | None = None

    def arguments(self) -> tuple[str, list[str]]:
        arguments = [f"error-{self.command}={self.error}", f"error-{self.command}-rate={self.share}"]
        if self.trigger is not None:
            arguments.append(f"error-{self.command}-file={self.trigger}")
        return "error", arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """Writes what passed (commands, bytes, latencies) to ``path`` when the filter ends."""

    path: Path

    def arguments(self) -> tuple[str, list[str]]:
        return "stats", [f"statsfile={self.path}"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultAt:
    """Fails commands that touch the byte at ``offset``, or, without one, those that come once so many bytes were asked
    for; ``times``: how often, None for ever.
    """

    command: Command
    error: Error = "EIO"
    offset: int | None = None
    after_bytes: int | None = None
    times: int | None = None

    def rule(self) -> Rule:
        code = int(getattr(errno, self.error))
        return Rule(
            command=self.command, action="error", code=code,
            offset=self.offset, after_bytes=self.after_bytes, times=self.times,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """Cuts the connection at such a command; with ``after_bytes``, once they asked for so many bytes."""

    command: Command | Literal["any"] = "any"
    after_bytes: int | None = None
    times: int | None = None

    def rule(self) -> Rule:
        return Rule(command=self.command, action="cut", after_bytes=self.after_bytes, times=self.times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hang:
    """As `Cut`, but from then on the connection neither answers nor ends."""

    command: Command | Literal["any"] = "any"
    after_bytes: int | None = None
    times: int | None = None

    def rule(self) -> Rule:
        return Rule(command=self.command, action="hang", after_bytes=self.after_bytes, times=self.times)


Filter = Rate | Delay | Retry | Fault | Stats | FaultAt | Cut | Hang
_NAMES: dict[str, type[Any]] = {
    "rate": Rate, "delay": Delay, "retry": Retry, "fault": Fault, "stats": Stats,
    "fault-at": FaultAt, "cut": Cut, "hang": Hang,
}  # fmt: skip
_BROKEN = (FaultAt, Cut, Hang)


@contextlib.contextmanager
def filtered(uri: str, *filters: Filter) -> Iterator[str]:
    """Yields the URI of ``uri``'s export behind ``filters``, for as long as the block lasts."""
    groups = [(broken, list(group)) for broken, group in itertools.groupby(filters, lambda f: isinstance(f, _BROKEN))]
    with contextlib.ExitStack() as stack:
        for broken, group in reversed(groups):
            uri = stack.enter_context(_breaker(uri, group) if broken else _nbdkit(uri, group))
        yield uri


@contextlib.contextmanager
def _nbdkit(uri: str, filters: list[Any]) -> Iterator[str]:
    command = ["nbdkit", "--foreground", "--exit-with-parent", "--threads=32"]
    settings: list[str] = []
    for item in filters:
        name, arguments = item.arguments()
        command.append(f"--filter={name}")
        settings += arguments
    with private_folder() as folder:
        command += ["--unix", str(folder / "nbd"), "--pidfile", str(folder / "pid"), "nbd", f"uri={uri}", *settings]
        with _serving("nbdkit", command, folder) as result:
            yield result


@contextlib.contextmanager
def _breaker(uri: str, filters: list[Any]) -> Iterator[str]:
    parts = urlsplit(uri)
    upstream = parse_qs(parts.query).get("socket", [""])[0]
    if "+unix" not in parts.scheme or not upstream:
        raise FilterFailed("faults at an offset, cuts and hangs are for exports of a unix socket of this host")
    rules = json.dumps([dataclasses.asdict(item.rule()) for item in filters])
    with private_folder() as folder:
        command = [sys.executable, "-m", "coriolis.dataplane.filters.breaker"]
        command += [str(folder / "nbd"), upstream, str(folder / "pid"), rules]
        with _serving("the breaker", command, folder, name=parts.path.lstrip("/")) as result:
            yield result


@contextlib.contextmanager
def _serving(program: str, command: list[str], folder: Path, *, name: str = "") -> Iterator[str]:
    try:
        with serve(command, folder, name=name) as server:
            yield server.uri
    except ServerFailed as error:
        raise FilterFailed(f"{program} did not start: {error.reason}") from None


def parse_filters(text: str) -> tuple[Filter, ...]:
    """From ``delay:read_ms=5;rate:bytes_per_second=100000000``: names of filters and their settings, the first nearest
    to the engine. Raises `FilterFailed`, which says what is wrong.
    """
    return tuple(_parse(item.strip()) for item in text.split(";") if item.strip())


def _parse(item: str) -> Filter:
    name, _, rest = item.partition(":")
    kind = _NAMES.get(name.strip())
    if kind is None:
        raise FilterFailed(f"there is no filter {name.strip()!r}; there are {', '.join(_NAMES)}")
    settings: dict[str, Any] = {}
    types = typing.get_type_hints(kind)
    for pair in filter(None, (pair.strip() for pair in rest.split(","))):
        key, _, value = pair.partition("=")
        if key not in types:
            raise FilterFailed(f"the filter {name} has no setting {key!r}; it has {', '.join(types)}")
        settings[key] = _value(name, key, value, types[key])
    try:
        return typing.cast(Filter, kind(**settings))
    except TypeError:
        missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
        raise FilterFailed(f"the filter {name} needs {', '.join(missing)}") from None


def _value(name: str, key: str, text: str, kind: Any) -> Any:
    choices = [one for one in (kind, *typing.get_args(kind)) if one is not type(None)]
    words = [word for one in choices for word in (one, *typing.get_args(one)) if isinstance(word, str)]
    words = list(dict.fromkeys(words))
    if words:
        if text not in words:
            raise FilterFailed(f"the setting {key} of {name} is one of {', '.join(words)}, not {text!r}")
        return text
    convert: Any = next(one for one in (float, int, Path) if one in choices)
    try:
        return convert(text)
    except ValueError:
        raise FilterFailed(f"the setting {key} of {name} is a number, not {text!r}") from None
