# SPDX-License-Identifier: Apache-2.0
"""What travels: a request is ``(method, JSON object)``, a reply ``{"value": ...}`` or ``{"error": {...}}``.

Errors of the domain cross as code, message and field, and are raised on the other side as the class of that code.
Anything else that a handler raises is a bug: the caller learns that it happened, the trace stays in the log of the
process that has the bug.
"""

from __future__ import annotations

import logging
from typing import Any

from coriolis.domain import codec
from coriolis.domain.errors import CoriolisError
from coriolis.rpc.bus import Handler
from coriolis.rpc.messages import METHODS

_LOG = logging.getLogger(__name__)


class RemoteBug(CoriolisError):
    """The other side has a bug; its log has the trace."""

    code = "coriolis.bug"
    status = 500


def method_of(topic: str, request: Any) -> str:
    """The name of the topic's method that takes this record.

    :raises TypeError: there is none: a mistake of the caller
    """
    for method, (kind, _reply) in METHODS[topic].items():
        if type(request) is kind:
            return method
    raise TypeError(f"topic {topic} has no method for a {type(request).__name__}")


def answer(topic: str, method: str, handler: Handler, payload: Any) -> dict[str, Any]:
    """Decodes the request, runs the handler, encodes what comes out. Never raises."""
    try:
        reply = handler(codec.from_json(METHODS[topic][method][0], payload))
    except CoriolisError as error:
        return {"error": encode_error(error)}
    except Exception as error:  # noqa: BLE001 - the border of the process: a bug must not take the server down
        _LOG.exception("handler failed topic=%s method=%s", topic, method)
        return {"error": encode_error(RemoteBug(f"{topic}.{method} failed: {type(error).__name__}"))}
    return {"value": codec.to_json(reply)}


def unpack(topic: str, method: str, answer: dict[str, Any]) -> Any:
    """The reply record. :raises CoriolisError: what the handler raised"""
    if answer.get("error") is not None:
        raise decode_error(answer["error"])
    kind = METHODS[topic][method][1]
    value = answer.get("value")
    return None if kind is None or value is None else codec.from_json(kind, value)


def encode_error(error: CoriolisError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "field": error.field}


def decode_error(data: dict[str, Any]) -> CoriolisError:
    """The error of that code; an unknown code (a newer sender) becomes the root class."""
    kind = _by_code(CoriolisError).get(data["code"], CoriolisError)
    return kind(data["message"], field=data.get("field"))


def _by_code(root: type[CoriolisError]) -> dict[str, type[CoriolisError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found = {**_by_code(child), **found}
    return found
