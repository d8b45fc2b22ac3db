# SPDX-License-Identifier: Apache-2.0
"""What a program asks of a cloud, as the services of the cloud saw it: their request logs (`serve.py`), which all APIs
of the new release have.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.lab.cloud import Cloud
from tests.lab.release import APIS

_SETTLE_SECONDS = 1.5  # an answer is logged after it was sent
_VERSION = re.compile(r"^/(v\d+(\.\d+)?)?$")
#: What comes before the noun: a version, and Cinder's project.
_PREFIX = re.compile(r"^/v\d+(\.\d+)?(/[0-9a-f]{32}(?=/))?")
_ID = re.compile(r"(?<=/)([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=/|$)")
#: Parameters that narrow a list to one thing, or to what belongs to it.
_NARROW = frozenset(
    {"id", "name", "tags", "description", "device_id", "network_id", "volume_id", "mac_address", "fixed_ips"}
)
#: Of a project, and no list.
_SINGULAR = frozenset({"/limits"})


class Kind(enum.StrEnum):
    TOKEN = "token"
    VERSION = "version"  # what a service can, asked once by each connection
    LIST = "list"  # grows with the project or the cloud
    LOOKUP = "lookup"  # a list, narrowed to one thing or what belongs to it
    OTHER = "other"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """``path`` without version and project, ids replaced; ``query``: names of the parameters."""

    service: str
    method: str
    path: str
    query: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        if self.path == "/auth/tokens":
            return Kind.TOKEN
        if self.path == "/":
            return Kind.VERSION
        noun, _, rest = self.path[1:].partition("/")
        if self.method != "GET" or rest not in ("", "detail") or f"/{noun}" in _SINGULAR:
            return Kind.OTHER
        return Kind.LOOKUP if _NARROW & set(self.query) else Kind.LIST

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}" + ("?" + "&".join(self.query) if self.query else "")


class Watch:
    """From now on. ``agent``: how the program's user agent begins."""

    def __init__(self, cloud: Cloud, agent: str = "coriolis") -> None:
        self._logs = {name: cloud.home.log / f"requests-{cloud.spec.port(name)}" for name in APIS}
        missing = [name for name, path in self._logs.items() if not path.exists()]
        if missing:
            raise ValueError(f"{cloud.name}: no request log of {', '.join(missing)}; restart the cloud")
        self._begun = {name: path.stat().st_size for name, path in self._logs.items()}
        self._agent = agent

    def calls(self) -> list[Call]:
        """All since the beginning, service by service."""
        found = self._found()
        while True:
            time.sleep(_SETTLE_SECONDS)
            before, found = len(found), self._found()
            if len(found) == before:
                return found

    def _found(self) -> list[Call]:
        return [
            call(name, *words[1].split(" ")[:2])
            for name, path in self._logs.items()
            for words in _lines(path, self._begun[name])
            if words[2].startswith(self._agent)
        ]


def _lines(path: Path, begin: int) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", errors="replace") as log:
        log.seek(begin)
        for line in log:
            if line.endswith("\n"):
                yield line.rstrip("\n").split("\t")


def call(service: str, method: str, url: str) -> Call:
    """Of a request as it came."""
    parts = urlsplit(url)
    path = "/" if _VERSION.match(parts.path.rstrip("/") or "/") else _PREFIX.sub("", parts.path)
    query = tuple(sorted({name for name, _value in parse_qsl(parts.query, keep_blank_values=True)}))
    return Call(service=service, method=method, path=_ID.sub("{id}", path), query=query)


def counted(calls: Iterable[Call]) -> Counter[Kind]:
    return Counter(one.kind for one in calls)
