# SPDX-License-Identifier: Apache-2.0
"""The loop against a real server: what it must give back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coriolis.dataplane import nbd
from coriolis.dataplane.loop import Loop
from tests.integration.dataplane_disks import MIB, MISSING

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    command = ["nbdkit", "--foreground", "--unix", str(tmp_path / "nbd"), "--pidfile", str(tmp_path / "pid")]
    with subprocess.Popen([*command, "memory", "4M"]) as server:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield f"nbd+unix:///?socket={tmp_path}/nbd"
        finally:
            server.kill()


def test_no_reference_to_a_buffer_is_left_behind(uri: str) -> None:
    """libnbd's binding keeps one for each request, and with it the memory."""
    connection = nbd.connect(uri)
    loop = Loop([connection], 1)
    data = bytearray(MIB)
    memory = memoryview(data)
    ended: list[int] = []
    for number in range(200):
        command = loop.read if number % 2 else loop.write
        command(connection, memory[: 1000 + number], 4096 * number, then=ended.append)
        while len(ended) <= number:
            loop.turn()
    assert set(ended) == {0}
    memory.release()
    data.append(0)  # raises BufferError while anybody has a view of it
    loop.close(wait=True)


def test_what_was_written_is_read(uri: str) -> None:
    connection = nbd.connect(uri)
    loop = Loop([connection], 1)
    data, found, ended = memoryview(b"coriolis" * 512), memoryview(bytearray(4096)), list[int]()
    starts: list[Callable[[], None]] = [
        lambda: loop.write(connection, data, 8192, then=ended.append),
        lambda: loop.flush(connection, then=ended.append),
        lambda: loop.read(connection, found, 8192, then=ended.append),
        lambda: loop.zero(connection, 4096, 8192, then=ended.append),
    ]
    for start in starts:
        before = len(ended)
        start()
        while len(ended) == before:
            loop.turn()
    assert ended == [0, 0, 0, 0]
    assert found == data
    loop.close(wait=True)
