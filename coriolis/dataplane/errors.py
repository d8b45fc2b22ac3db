# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while disk bytes move.

One small tree. Every error carries a message that names the cause and the cure, and says through
``retryable`` whether the same call may succeed later without anybody changing anything. Callers map the
classes below to the error classes of their own layer; they never look into the message.
"""

from __future__ import annotations


class DataplaneError(Exception):
    """Root of the tree."""

    retryable = False

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable


class SourceError(DataplaneError):
    """The source cannot be opened or read."""

    retryable = True


class SourceShrank(SourceError):
    """The source became, or is, shorter than it announced."""

    retryable = False


class SourceChanged(SourceError):
    """The source has another size than the journal and the target were made for."""

    retryable = False


class SinkError(DataplaneError):
    """The target cannot be opened, written or flushed."""

    retryable = True


class NoSpace(SinkError):
    """The target, or the storage below it, is full."""

    retryable = False


class Stalled(DataplaneError):
    """Nothing moved for the stall timeout."""

    retryable = True


class Cancelled(DataplaneError):
    """The caller asked to stop. What is journalled stays and can be resumed."""


class Mismatch(DataplaneError):
    """The target does not hold what was written: ``extents`` lists (offset, length) that differ."""

    def __init__(self, message: str, *, extents: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__(message)
        self.extents = extents


class InvalidImage(DataplaneError):
    """The image is damaged, truncated, encrypted or of a kind that cannot be read."""


class UnsafeImage(InvalidImage):
    """The image refers to something outside of its folder, or lies about itself: it was not opened."""


class JournalError(DataplaneError):
    """The journal cannot be used: damaged beyond its tail, or made for another disk."""


class JournalBusy(JournalError):
    """Another live process on this host is writing with this journal."""

    retryable = True


class StaleEpoch(JournalError):
    """A newer epoch owns this journal. The caller must stop without touching the target again."""


class ToolMissing(DataplaneError):
    """A program or library that the data plane needs is not installed."""
