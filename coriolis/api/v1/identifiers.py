# SPDX-License-Identifier: Apache-2.0
"""Identifiers in paths: what is none names nothing, so the answer is 404 and no statement is spent on it."""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Any

from coriolis.api import body
from coriolis.api.request import ApiRequest
from coriolis.domain.errors import Invalid, NotFound

Json = Any


def object_id(request: ApiRequest, name: str, noun: str) -> str:
    """The UUID at this place of the path, in its usual form. :raises NotFound: it is no UUID"""
    given = request.params[name]
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise NotFound(f"There is no {noun} {given[:64]!r}: an id is a UUID") from None


def from_base64(text: str, field: str) -> str:
    """URL-safe base64 of UTF-8, with or without padding. :raises Invalid:"""
    bare = text.rstrip("=")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise Invalid(f"{field} must be URL-safe base64 of UTF-8 text", field=field) from None
    if "\x00" in decoded:
        raise Invalid(f"{field} holds a NUL character", field=field)
    return decoded


def environment(request: ApiRequest) -> dict[str, Json]:
    """The query parameter ``env``: base64 of a JSON object; null and nothing mean {}. :raises Invalid:"""
    value = _encoded(request, "env", "a JSON object")
    if value is not None and not isinstance(value, dict):
        raise Invalid("env must be URL-safe base64 of a JSON object", field="env")
    return value or {}


def option_names(request: ApiRequest) -> list[str] | None:
    """The query parameter ``options``: base64 of a JSON list of names; null, [] and nothing mean all (None).

    :raises Invalid:
    """
    value = _encoded(request, "options", "a JSON list of names")
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise Invalid("options must be URL-safe base64 of a JSON list of names", field="options")
    return value or None


def _encoded(request: ApiRequest, field: str, what: str) -> Json:
    text = request.query.one(field)
    if text is None:
        return None
    try:
        return body.parse(from_base64(text, field).encode("utf-8"), "")
    except Invalid:
        raise Invalid(f"{field} must be URL-safe base64 of {what}", field=field) from None
