# SPDX-License-Identifier: Apache-2.0
"""The one error tree of the service.

::

    CoriolisError
    |-- Invalid              400  the request or its data is wrong; names the field and the cure
    |   `-- InvalidState     400  the object is in a state that does not allow the operation
    |-- Unauthorized         401  no valid token
    |-- Forbidden            403  the policy or the ownership refuses
    |-- NotFound             404  no such object in the caller's project
    |-- Conflict             409  the same thing exists, or someone else changed it meanwhile
    |-- TooLarge             413  the body is larger than the configured limit
    |-- Unsupported          405  the provider lacks the capability
    |-- Unavailable          503  no worker, no database, no broker at the moment
    `-- Stale                409  a fenced write came from an attempt that no longer owns its task

``code`` strings are stable: once shipped, they never change. ``status`` is the HTTP status.
"""

from __future__ import annotations

from typing import ClassVar


class CoriolisError(Exception):
    """Any error that may be shown to a user. ``message`` names the cause and, where there is one, the cure."""

    code: ClassVar[str] = "coriolis.error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Invalid(CoriolisError):
    code = "coriolis.invalid"
    status = 400


class InvalidState(Invalid):
    code = "coriolis.invalid_state"


class Unauthorized(CoriolisError):
    code = "coriolis.unauthorized"
    status = 401


class Forbidden(CoriolisError):
    code = "coriolis.forbidden"
    status = 403


class NotFound(CoriolisError):
    code = "coriolis.not_found"
    status = 404


class Conflict(CoriolisError):
    code = "coriolis.conflict"
    status = 409


class TooLarge(CoriolisError):
    code = "coriolis.too_large"
    status = 413


class Unsupported(CoriolisError):
    code = "coriolis.unsupported"
    status = 405


class Unavailable(CoriolisError):
    code = "coriolis.unavailable"
    status = 503


class Stale(Conflict):
    code = "coriolis.stale"
