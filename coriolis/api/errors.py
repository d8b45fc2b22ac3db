# SPDX-License-Identifier: Apache-2.0
"""Every error leaves as ``{"error": {"fault", "code", "message", ...}}``, and none with a stack.

``reason`` is the stable code of the error and ``field`` what was wrong in the request; both are additions to the
wire contract, which knows the first three keys.
"""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Iterable
from typing import Any

import webob
import webob.exc

from coriolis.domain.errors import (
    CoriolisError,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from coriolis.runtime.identity import StartResponse, WsgiApp

LOG = logging.getLogger(__name__)

FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_OTHER_FAULT = "computeFault"


def response(error: CoriolisError, headers: Iterable[tuple[str, str]] = ()) -> webob.Response:
    """The answer for one of our own errors."""
    return _answer(error.status, error.message, headers, reason=error.code, field=error.field)


def _answer(status: int, message: str, headers: Iterable[tuple[str, str]] = (), **extra: str | None) -> webob.Response:
    content = {"fault": FAULTS.get(status, _OTHER_FAULT), "code": status, "message": message}
    content.update({key: value for key, value in extra.items() if value is not None})
    answer = webob.Response(
        status=status,
        body=json.dumps({"error": content}).encode("utf-8"),
        content_type="application/json",
        charset="UTF-8",
    )
    for name, value in headers:
        answer.headers[name] = value
    return answer


class FaultWrapper:
    """Outermost but one: whatever happens behind it, the client gets our error body."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = webob.Request(environ).get_response(self._app, catch_exc_info=True)
        except CoriolisError as error:
            answer = response(error)
        except webob.exc.HTTPException as error:
            answer = _foreign(error)
        except Exception:
            LOG.exception("Request %s failed", environ.get("openstack.request_id"))
            answer = _answer(500, "An internal error happened; the log of the service has it under the request id")
        if answer.status_int >= 400 and answer.content_type != "application/json":
            answer = _foreign(answer)
        return answer(environ, start_response)


def _foreign(answer: webob.Response) -> webob.Response:
    """An error of a library's middleware (token check, size limit) in our form; its text may be HTML."""
    status = answer.status_int
    detail = getattr(answer, "detail", None) or http.HTTPStatus(status).phrase
    kept = [(n, v) for n, v in answer.headers.items() if n.lower() not in ("content-type", "content-length")]
    known = _KNOWN.get(status)
    return _answer(status, _WORDS.get(status, str(detail)), kept, reason=known.code if known else None)


# The reason is the same whoever notices.
_KNOWN: dict[int, type[CoriolisError]] = {
    kind.status: kind for kind in (Invalid, Unauthorized, Forbidden, NotFound, TooLarge, Unavailable)
}
_WORDS = {
    401: "The request needs a valid token of a project in the header X-Auth-Token",
    413: "The body is larger than this service allows",
    503: "The identity service does not answer: try again later",
}
