# SPDX-License-Identifier: Apache-2.0
"""The five ways in which a platform may refuse. Anything else that a provider raises is a bug and permanent.

::

    ProviderError
    |-- Unavailable     retry: the platform does not answer, is overloaded, a session expired half-way
    |-- Unauthorized    permanent: credentials are wrong or lack a right; says which
    |-- Invalid         permanent: the input is wrong (a field, a file, a name); says which and how to mend it
    |-- Conflict        permanent: the thing exists and is not ours, or is in a state that forbids the operation
    `-- Gone            permanent: the thing does not exist (any more)

``Cancelled`` is not an error: it ends an attempt whose cancel token was set.
"""

from __future__ import annotations

from typing import ClassVar


class ProviderError(Exception):
    """Base. ``message`` is shown to the user: cause and cure, no secret, no stack."""

    code: ClassVar[str] = "provider.error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ProviderError):
    code = "provider.unavailable"
    retryable = True


class Unauthorized(ProviderError):
    code = "provider.unauthorized"


class Invalid(ProviderError):
    code = "provider.invalid"


class Conflict(ProviderError):
    code = "provider.conflict"


class Gone(ProviderError):
    code = "provider.gone"


class Cancelled(Exception):
    """The attempt was told to stop, and stopped."""
