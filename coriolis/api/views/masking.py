# SPDX-License-Identifier: Apache-2.0
"""Hides secrets of connection info in answers, and puts them back when a masked object is sent back."""

from __future__ import annotations

import re
from typing import Any

Json = Any

MASK = "***"

_SECRET_NAME = re.compile(r"pass|secret|token|passphrase|credential|key|cert|private|pin\b", re.IGNORECASE)
# Of a field that the provider describes and does not mark, only a name like these is doubted.
_SURELY_SECRET = re.compile(r"password|passphrase|secret|private_?key|token", re.IGNORECASE)
# A password in the address of something: scheme://user:password@host
_IN_ADDRESS = re.compile(r"(://[^/?#\s:@]*:)[^/?#\s]+(?=@)")
# Names that match the patterns above and hold no secret.
_PLAIN_NAME = re.compile(r"secret_ref|key_?(name|file|path)|allow_|insecure|public_?key|fingerprint", re.IGNORECASE)


def mask(info: Json, schema: Json = None, *, known: bool = True) -> Json:
    """The same object with every secret replaced by ``***``.

    A value is secret when its schema says so (``writeOnly``, ``format: password``) or its name sounds so; the names of
    fields that the schema describes are doubted less. Of an address (a URL), the password in it is.
    ``known`` False: the schema is out of reach, and every text is taken for a secret.
    """
    if not isinstance(info, dict):
        return info
    return {name: _masked(name, value, _property(schema, name), known) for name, value in info.items()}


def _masked(name: str, value: Json, schema: Json, known: bool) -> Json:
    if value in (None, "") or isinstance(value, bool):
        return value
    if name == "secret_ref":
        return value
    if _is_secret(name, schema):
        return MASK
    if isinstance(value, dict):
        return mask(value, schema, known=known)
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema, dict) else None
        return [_masked(name, item, items, known) for item in value]
    return value if not isinstance(value, str) else _clean(value) if known else MASK


def _clean(text: str) -> str:
    """Without the password of an address."""
    return _IN_ADDRESS.sub(rf"\g<1>{MASK}", text)


def _is_secret(name: str, schema: Json) -> bool:
    described = isinstance(schema, dict)
    if described and (schema.get("writeOnly") or schema.get("format") == "password"):
        return True
    sounds = _SURELY_SECRET if described else _SECRET_NAME
    return bool(sounds.search(name)) and not _PLAIN_NAME.search(name)


def _property(schema: Json, name: str) -> Json:
    """The schema of a key, looked for in the branches of ``oneOf``, ``anyOf`` and ``allOf`` as well."""
    if not isinstance(schema, dict):
        return None
    found = (schema.get("properties") or {}).get(name)
    if found is not None:
        return found
    branches = [b for word in ("oneOf", "anyOf", "allOf") for b in schema.get(word) or ()]
    return next((p for p in (_property(branch, name) for branch in branches) if p is not None), None)


def masked_place(value: Json, path: str) -> str | None:
    """Where a mask stands in for a secret, dotted below ``path``; None: nowhere."""
    if value == MASK or (isinstance(value, str) and f":{MASK}@" in value):
        return path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, item in children if (found := masked_place(item, f"{path}.{key}"))), None)


def restore(sent: Json, stored: Json) -> Json:
    """What a client sent, with every ``***`` replaced by what is stored in its place."""
    if sent == MASK:
        return stored if stored is not None else MASK
    if isinstance(sent, str) and isinstance(stored, str):
        return stored if sent == _clean(stored) else sent
    if isinstance(sent, dict):
        known = stored if isinstance(stored, dict) else {}
        return {name: restore(value, known.get(name)) for name, value in sent.items()}
    if isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        return [restore(new, old) for new, old in zip(sent, stored, strict=True)]
    return sent
