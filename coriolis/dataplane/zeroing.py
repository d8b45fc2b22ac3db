# SPDX-License-Identifier: Apache-2.0
"""Makes a long range of a target read as zeros, a few commands at a time.

A target that has no command for it gets zeros written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from coriolis.dataplane.loop import Loop
from coriolis.dataplane.nbd import Connection
from coriolis.dataplane.target import LocalTarget

_STEP = 1 << 30  # longest single zero request
_DEPTH = 4
_ZEROS = memoryview(bytes(1 << 20))


class Zeroing:
    """One range; ``done`` is called when all of it is zero, ``moved`` at each step."""

    def __init__(
        self,
        loop: Loop,
        target: LocalTarget | Connection,
        offset: int,
        length: int,
        *,
        check: Callable[[Connection | None, int], None],
        moved: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._loop, self._target = loop, target
        self._check, self._moved, self._done = check, moved, done
        step = _STEP
        if isinstance(target, Connection) and not target.zeroes:
            step = min(_ZEROS.nbytes, target.most)
        self._steps: Iterator[int] = iter(range(offset, offset + length, step))
        self._end, self._step = offset + length, step
        self._busy = 0

    def start(self) -> None:
        self._busy += 1  # not done before all are started
        for _ in range(_DEPTH):
            self._one()
        self._ended(None, 0)

    def _one(self) -> None:
        at = next(self._steps, None)
        if at is None:
            return
        length = min(self._step, self._end - at)
        self._busy += 1
        target = self._target
        if not isinstance(target, Connection):
            self._loop.thread(partial(target.zero, at, length), partial(self._step_done, None, 0))
        elif target.zeroes:
            self._loop.zero(target, length, at, then=partial(self._step_done, target))
        else:
            self._loop.write(target, _ZEROS[:length], at, then=partial(self._step_done, target))

    def _step_done(self, sink: Connection | None, code: int) -> None:
        self._check(sink, code)
        self._moved()
        self._one()
        self._ended(sink, code)

    def _ended(self, sink: Connection | None, code: int) -> None:
        self._busy -= 1
        if not self._busy:
            self._done()
