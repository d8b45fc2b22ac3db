# SPDX-License-Identifier: Apache-2.0
"""Disks in memory behind the engine's loop: commands end in any order, fail, hang, or are cut off with the process."""

from __future__ import annotations

import dataclasses
import errno
import random
from collections import deque
from collections.abc import Callable

from coriolis.dataplane.loop import Loop, Lost
from coriolis.dataplane.nbd import Connection, Failed
from coriolis.dataplane.types import LEAF_SIZE


class Killed(BaseException):
    """The process is gone; nothing of it runs any more."""


@dataclasses.dataclass
class Disk:
    """Bytes, and the writes that are not flushed: what a power cut may undo."""

    data: bytearray
    unflushed: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    zeroed: int = 0  # zero commands
    written: int = 0  # bytes
    leaves: set[int] = dataclasses.field(default_factory=set)  # that were written to

    def put(self, offset: int, content: bytes) -> None:
        self.unflushed.append((offset, bytes(self.data[offset : offset + len(content)])))
        self.data[offset : offset + len(content)] = content

    def lose_power(self, rng: random.Random) -> None:
        """Undoes some of what was not flushed, the last first."""
        for offset, before in reversed(self.unflushed):
            if rng.random() < 0.5:
                self.data[offset : offset + len(before)] = before
        self.unflushed.clear()


class MemoryConnection(Connection):
    """A connection to a `Disk`."""

    def __init__(self, disk: Disk, label: str, *, least: int = 1, most: int = 1 << 25, zeroes: bool = True) -> None:
        self.disk, self.label = disk, label
        self.size = len(disk.data)
        self.least, self.most, self.zeroes = least, most, zeroes
        self.flushes, self.local = True, False


@dataclasses.dataclass
class Command:
    kind: str
    connection: MemoryConnection
    offset: int
    view: memoryview
    length: int
    then: Callable[[int], None]


@dataclasses.dataclass
class Trouble:
    """Chances per command, and the number of turns after which the process is killed."""

    read_error: float = 0.0
    write_error: float = 0.0
    lost: float = 0.0
    hang: float = 0.0
    kill_after: int | None = None


class MemoryLoop(Loop):
    """The engine's loop without sockets or threads: one thing ends at a time, and which one is drawn."""

    def __init__(self, rng: random.Random, trouble: Trouble) -> None:
        self._rng, self._trouble = rng, trouble
        self._commands: list[Command] = []
        self._work: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._ends: deque[Callable[[], None]] = deque()
        self.turns = self.deepest = 0
        self.closed = False

    def read(self, connection: Connection, view: memoryview, offset: int, *, then: Callable[[int], None]) -> None:
        self._issue("read", connection, offset, view, view.nbytes, then)

    def write(self, connection: Connection, view: memoryview, offset: int, *, then: Callable[[int], None]) -> None:
        self._issue("write", connection, offset, view, view.nbytes, then)

    def zero(self, connection: Connection, length: int, offset: int, *, then: Callable[[int], None]) -> None:
        self._issue("zero", connection, offset, memoryview(b""), length, then)

    def flush(self, connection: Connection, *, then: Callable[[int], None]) -> None:
        self._issue("flush", connection, 0, memoryview(b""), 0, then)

    def thread(self, work: Callable[[], None], then: Callable[[], None], *, slow: bool = False) -> None:
        self._work.append((work, then))

    def drain(self) -> bool:
        some = bool(self._ends)
        while self._ends:
            self._ends.popleft()()
        return some

    def turn(self) -> None:
        self.turns += 1
        if self._trouble.kill_after is not None and self.turns > self._trouble.kill_after:
            self._cut_off()
            raise Killed
        number = self._rng.randrange(max(1, len(self._commands) + len(self._work)))
        if number < len(self._commands):
            self._end(self._commands.pop(number))
        elif self._work:
            work, then = self._work.pop(number - len(self._commands))
            work()
            self._ends.append(then)
        self.drain()

    def close(self, *, wait: bool) -> None:
        self.closed = True

    def _issue(
        self, kind: str, connection: Connection, offset: int, view: memoryview, length: int, then: Callable[[int], None]
    ) -> None:
        assert isinstance(connection, MemoryConnection)
        assert kind != "zero" or connection.zeroes
        if kind != "flush":
            assert length > 0
            assert kind == "zero" or length <= connection.most
            assert offset % connection.least == 0
            assert length % connection.least == 0 or offset + length == connection.size
        assert offset + length <= connection.size
        self._commands.append(Command(kind, connection, offset, view, length, then))
        self.deepest = max(self.deepest, sum(c.length for c in self._commands if c.kind == "read"))

    def _end(self, command: Command) -> None:
        trouble, rng, disk = self._trouble, self._rng, command.connection.disk
        if rng.random() < trouble.hang:
            self._trouble = dataclasses.replace(trouble, hang=0.0)
            return  # for ever
        if rng.random() < trouble.lost:
            raise Lost(command.connection, Failed(f"{command.connection.label}: gone", errno.ECONNRESET))
        if command.kind == "read":
            code = errno.EIO if rng.random() < trouble.read_error else 0
            command.view[:] = disk.data[command.offset : command.offset + command.length]
        else:
            code = rng.choice((errno.EIO, errno.ENOSPC)) if rng.random() < trouble.write_error else 0
            self._apply(command)
        self._ends.append(lambda: command.then(code))

    def _apply(self, command: Command, low: int = 0, high: int | None = None) -> None:
        disk, high = command.connection.disk, command.length if high is None else high
        if command.kind == "flush":
            disk.unflushed.clear()
        elif command.kind == "zero":
            disk.zeroed += 1
            disk.put(command.offset + low, bytes(high - low))
        elif command.kind == "write":
            disk.written += high - low
            disk.leaves.add(command.offset // LEAF_SIZE)
            disk.put(command.offset + low, bytes(command.view[low:high]))

    def _cut_off(self) -> None:
        """What was under way reaches the disk wholly, in part, or not at all."""
        for command in self._commands:
            if command.kind in ("write", "zero"):
                low, high = sorted(self._rng.randrange(command.length + 1) for _ in range(2))
                self._apply(command, low, high)
