# SPDX-License-Identifier: Apache-2.0
"""A request as the handlers see it: parsed, bounded, and free of everything that a database would choke on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from coriolis.commands.caller import Caller
from coriolis.domain.errors import Invalid
from coriolis.runtime.context import RequestContext

Json = Any

_MAX_QUERY_FIELDS = 200
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class Query:
    """The query string. Keys that nobody asks for are ignored."""

    def __init__(self, text: str) -> None:
        """:raises Invalid: no UTF-8, a NUL, or too many fields"""
        try:
            # WSGI hands bytes over as latin-1; a client may send raw UTF-8 without percent signs
            raw = text.encode("latin-1").decode("utf-8")
            pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            raise Invalid(
                f"The query string is no UTF-8, or has more than {_MAX_QUERY_FIELDS} fields: percent-encode UTF-8"
            ) from None
        for name, value in pairs:
            if "\x00" in name or "\x00" in value:
                raise Invalid("The query string holds a NUL character: remove it", field="query")
        self._pairs = pairs

    def all(self, *names: str) -> tuple[str, ...]:
        """Every value of the parameter, under any of its names; a comma separates values as well."""
        found = [value for name, value in self._pairs if name in names]
        return tuple(part.strip() for value in found for part in value.split(",") if part.strip())

    def one(self, name: str) -> str | None:
        """The last value; an empty one counts as absent."""
        return next((value for key, value in reversed(self._pairs) if key == name and value), None)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean; what is neither true nor false counts as absent (as the contract has it)."""
        word = (self.one(name) or "").strip().lower()
        return True if word in _TRUE else False if word in _FALSE else default

    def number(self, name: str) -> int | None:
        """A whole number from 0. :raises Invalid: it is something else"""
        text = self.one(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise Invalid(f"{name} must be a whole number from 0, not {text[:40]!r}", field=name)
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """A time from 0. :raises Invalid: it is something else"""
        text = self.one(name)
        if text is None:
            return default
        if not _SECONDS.fullmatch(text):
            raise Invalid(f"{name} must be a number of seconds from 0, not {text[:40]!r}", field=name)
        return float(text)


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """One request for a handler. ``params``: the values in the path, by the names of the route's template."""

    context: RequestContext
    is_admin: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    query: Query
    body: Json = None
    idempotency_key: str | None = None
    base_url: str = ""
    media_type: str = "application/json"  # of the answer, chosen among those that the route can give
    last_event_id: str | None = None  # where a client takes a stream up again

    @property
    def project_id(self) -> str:
        return str(self.context.project_id)

    @property
    def caller(self) -> Caller:
        """The caller as the commands want it."""
        return Caller(
            user_id=str(self.context.user_id),
            project_id=self.project_id,
            is_admin=self.is_admin,
            request_id=self.context.request_id,
        )
