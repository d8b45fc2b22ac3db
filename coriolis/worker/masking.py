# SPDX-License-Identifier: Apache-2.0
"""Takes secrets out of texts: the values themselves in all their usual spellings, and what looks like a secret."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from oslo_utils import strutils

STARS = "***"
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|private|auth(?!_url)", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"://[^/?#\s:@]*:([^/?#\s]+)@")  # scheme://user:password@host
_SHORTEST = 4  # shorter values would blank out ordinary words


def secrets_in(connection_info: Mapping[str, Any]) -> list[str]:
    """The values that stand under telling names, at any depth, and the passwords in addresses."""
    return sorted(set(_walk(connection_info, inside=False)))


def _walk(value: Any, *, inside: bool) -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _walk(part, inside=inside or bool(_SECRET_NAME.search(str(name))))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _walk(part, inside=inside)
    elif isinstance(value, str):
        quoted = _IN_ADDRESS.findall(value)
        found = [value] if inside else [*quoted, *map(urllib.parse.unquote, quoted)]
        yield from (each for each in found if len(each) >= _SHORTEST)


class Mask:
    """Hides the secrets given so far. Texts come out with ``***`` in their places."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._spellings: set[str] = set()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            self._spellings.update(_spellings(secret))
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(STARS, text)
        return str(strutils.mask_password(text, secret=STARS))

    def data(self, value: Any) -> Any:
        """The same for all texts in JSON data, by value only: names such as "password" are no reason here."""
        if isinstance(value, str):
            return value if self._pattern is None else self._pattern.sub(STARS, value)
        if isinstance(value, dict):
            return {name: self.data(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.data(part) for part in value]
        return value


def _spellings(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(raw).decode(),
        *(line for line in secret.splitlines() if len(line) > 16),  # a PEM printed line by line
    }
