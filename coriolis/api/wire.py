# SPDX-License-Identifier: Apache-2.0
"""Refuses requests that are no proper HTTP before any library looks at them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from coriolis.domain.errors import Invalid, TooLarge
from coriolis.runtime.identity import StartResponse, WsgiApp

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


def path_of(environ: dict[str, Any]) -> str:
    """The path as text. :raises Invalid: no UTF-8, or a NUL in it"""
    try:
        # WSGI hands the bytes of the path over as latin-1
        path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Invalid("The path is no UTF-8: percent-encode UTF-8") from None
    if "\x00" in path:
        raise Invalid("The path holds a NUL character: remove it")
    return path


class WireCheck:
    """To the fault wrapper around it:

    :raises Invalid: a path or a length that is none. :raises TooLarge: a body that is announced as too large
    """

    def __init__(self, app: WsgiApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path_of(environ)
        length = environ.get("CONTENT_LENGTH") or "0"
        if not _DIGITS.fullmatch(length):
            raise Invalid("The header Content-Length must be a whole number from 0", field="Content-Length")
        if int(length) > self._max_body_bytes:
            raise TooLarge(
                f"The body has {int(length)} bytes; this service takes {self._max_body_bytes} at most: send less"
            )
        return self._app(environ, start_response)
