# SPDX-License-Identifier: Apache-2.0
"""Reads a JSON body: bounded in size and depth, and without what JSON allows but a database does not."""

from __future__ import annotations

import json
import math
from typing import IO, Any

from coriolis.domain.errors import CoriolisError, Invalid, TooLarge

MAX_DEPTH = 40
_MAX_INTEGER = 2**63 - 1


class WrongMediaType(CoriolisError):
    code = "coriolis.wrong_media_type"
    status = 415


def read(stream: IO[bytes], limit: int) -> bytes:
    """At most ``limit`` bytes. :raises TooLarge: there are more. :raises Invalid: the body breaks off"""
    try:
        data = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        raise Invalid(f"The body cannot be read: {type(error).__name__}") from None
    if len(data) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes, the limit of this service")
    return data


def parse(data: bytes, content_type: str) -> Any:
    """The JSON value, or None for an empty body.

    :raises WrongMediaType: it says that it is no JSON
    :raises Invalid: no JSON, too deep, or with NULs, lone surrogates or numbers that no database can store
    """
    if not data.strip():
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise WrongMediaType("The body must be JSON: send it with the header Content-Type: application/json")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise Invalid("The body is no UTF-8 text: encode it as UTF-8") from None
    except RecursionError:
        raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"The body is no JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except ValueError as error:
        raise Invalid(f"The body holds a number that is out of range: {error}") from None
    _check(value)
    return value


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text[:40])
    return number


def _check(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key, item in value.items():
                    _check_text(key)
                    below.append(item)
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                _check_text(value)
            elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
                raise Invalid("The body holds an integer of more than 64 bits")
        if not below:
            return
        level = below
    raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels")


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise Invalid("The body holds a NUL character (\\u0000): remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid("The body holds half of a surrogate pair (\\ud800 to \\udfff): it is no text") from None
