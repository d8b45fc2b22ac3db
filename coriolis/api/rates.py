# SPDX-License-Identifier: Apache-2.0
"""How often a project may ask. Off unless configured."""

from __future__ import annotations

import math
import time

import limits
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from coriolis.domain.errors import CoriolisError, Invalid

IN_MEMORY = "memory://"


class TooManyRequests(CoriolisError):
    """``retry_after``: whole seconds after which a request passes again."""

    code = "coriolis.too_many_requests"
    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rates:
    """Counts the requests of each project. Safe to share between threads."""

    def __init__(self, text: str, storage: str = IN_MEMORY) -> None:
        """``text``: for example ``20/second; 600/minute``. ``storage``: where counts are kept, by the notation of the
        library ``limits``; in memory, each process counts for itself.

        :raises Invalid: it is no such text, or there is no such storage
        """
        try:
            self._rates = sorted(limits.parse_many(text))
            self._limiter = MovingWindowRateLimiter(storage_from_string(storage))
        except (ValueError, limits.errors.ConfigurationError) as error:
            raise Invalid(f"The rate limit {text!r} in {storage!r} cannot be used: {error}") from None

    def count(self, project_id: str) -> None:
        """:raises TooManyRequests: the project has asked too often. A storage that is away lets everybody pass."""
        for rate in self._rates:
            try:
                if self._limiter.hit(rate, project_id):
                    continue
                reset = self._limiter.get_window_stats(rate, project_id).reset_time
            except StorageError:
                return
            raise TooManyRequests(
                f"The project has asked more than {rate}: wait, or ask less often",
                max(1, math.ceil(reset - time.time())),
            )
