# SPDX-License-Identifier: Apache-2.0
"""What a failed attempt says: every exception becomes a stable code, a message for the user, and whether to try again.

Nothing is decided by looking into a message. An exception of an unknown class is a bug: permanent, and its words stay
in the worker's log.
"""

from __future__ import annotations

from coriolis import dataplane
from coriolis.domain.errors import CoriolisError, Unavailable
from coriolis.domain.retry import DIED, MISMATCH
from coriolis.providers.api import ProviderError
from coriolis.rpc.messages import Error

BUG = "task.bug"
_BUG_MESSAGE = "A bug in the provider or the worker ended this task ({kind}); the worker's log has the details."

# The first class that fits.
_DATAPLANE: tuple[tuple[type[dataplane.DataplaneError], str], ...] = (
    (dataplane.NoSpace, "data.no_space"),
    (dataplane.SourceShrank, "data.source_shrank"),
    (dataplane.SourceChanged, "data.source_changed"),
    (dataplane.SourceError, "data.source"),
    (dataplane.SinkError, "data.target"),
    (dataplane.Stalled, "data.stalled"),
    (dataplane.Mismatch, MISMATCH),
    (dataplane.UnsafeImage, "data.unsafe_image"),
    (dataplane.InvalidImage, "data.invalid_image"),
    (dataplane.JournalBusy, "data.journal_busy"),
    (dataplane.JournalError, "data.journal"),
    (dataplane.ToolMissing, "data.tool_missing"),
    (dataplane.DataplaneError, "data.error"),
)


def classify(error: BaseException) -> Error:
    """The answer for this exception; ``Cancelled`` and ``Stale`` are not errors and do not come here."""
    if isinstance(error, ProviderError):
        return Error(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            retry_after_seconds=error.retry_after_seconds,
        )
    if isinstance(error, dataplane.DataplaneError):
        code = next(code for kind, code in _DATAPLANE if isinstance(error, kind))
        return Error(code=code, message=str(error), retryable=error.retryable)
    if isinstance(error, CoriolisError):
        return Error(code=error.code, message=error.message, retryable=isinstance(error, Unavailable))
    return Error(code=BUG, message=_BUG_MESSAGE.format(kind=type(error).__name__))


def is_bug(error: BaseException) -> bool:
    return not isinstance(error, (ProviderError, dataplane.DataplaneError, CoriolisError))


def died(status: int) -> Error:
    """The child ended with this exit status and no result. It may be the machine's fault, so another try is due; the
    retry policy limits how many."""
    how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
    return Error(code=DIED, message=f"The task's process {how} before it was done.", retryable=True)
