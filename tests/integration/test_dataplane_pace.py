# SPDX-License-Identifier: Apache-2.0
"""A real copy obeys its pace while it runs, and gives way when its source becomes slow."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from coriolis.dataplane import CopyOptions, FileSink, ImageSource, NbdSource, Progress, copy_disk, open_source
from coriolis.dataplane.filters import Delay, filtered
from coriolis.dataplane.pace import Pace
from tests.integration.dataplane_disks import MIB, MISSING, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]


def dense(path: Path, mib: int) -> Path:
    path.write_bytes(b"".join(bytes([number % 251 + 1]) * MIB for number in range(mib)))
    return path


def test_a_copy_is_slowed_down_and_let_go_while_it_runs(tmp_path: Path) -> None:
    raw = dense(tmp_path / "disk.raw", 256)
    pace = Pace()
    pace.set(16 * MIB)
    seen: list[tuple[float, int]] = []
    turns: list[tuple[float, int]] = []

    def watch(now: Progress) -> None:
        seen.append((time.monotonic(), now.read))
        if not turns and now.read >= 48 * MIB:
            pace.set(64 * MIB)
            turns.append(seen[-1])

    options = CopyOptions(pace=pace, progress_seconds=0.05)
    source, sink = ImageSource(path=raw), FileSink(path=tmp_path / "copy.raw")
    copy_disk(source, sink, journal=tmp_path / "journal", epoch=1, options=options, progress=watch)
    assert same(raw, tmp_path / "copy.raw")
    turn = turns[0]
    slow = (turn[1] - seen[0][1]) / (turn[0] - seen[0][0])
    fast = (seen[-1][1] - turn[1]) / (seen[-1][0] - turn[0])
    assert slow <= 1.3 * 16 * MIB
    assert fast <= 1.3 * 64 * MIB
    assert fast > 1.5 * slow


def test_a_copy_that_is_told_to_wait_does_not_stall(tmp_path: Path) -> None:
    raw = dense(tmp_path / "disk.raw", 16)
    pace = Pace()
    pace.set(0)
    threading.Timer(3.0, pace.set, (None,)).start()
    options = CopyOptions(pace=pace, stall_seconds=1.0)
    start = time.monotonic()
    sink = FileSink(path=tmp_path / "copy.raw")
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1, options=options)
    assert time.monotonic() - start >= 2.5
    assert same(raw, tmp_path / "copy.raw")


def test_a_source_that_gets_slow_is_given_room(tmp_path: Path) -> None:
    """The delay filter stands for a datastore that others load: it begins in the middle of the copy."""
    raw = dense(tmp_path / "disk.raw", 256)
    pace = Pace()
    pace.set(None, backoff=3.0)
    ceilings: list[float] = []
    options = CopyOptions(pace=pace, progress_seconds=0.05)
    with open_source(ImageSource(path=raw)) as quick, filtered(quick.uri, Delay(read_ms=2)) as uri:
        # The pace first learns what is usual, from an undisturbed copy.
        pace_before = CopyOptions(pace=pace, requests=2)
        first = FileSink(path=tmp_path / "first.raw")
        copy_disk(NbdSource(uri=uri), first, journal=tmp_path / "one", epoch=1, options=pace_before)
        before = pace.ceiling  # None, unless this host itself is too busy
        with filtered(quick.uri, Delay(read_ms=120)) as slow:
            sink = FileSink(path=tmp_path / "second.raw")

            def watch(now: Progress) -> None:
                if pace.ceiling is not None and pace.ceiling != before:
                    ceilings.append(pace.ceiling)
                if ceilings and pace.ceiling != ceilings[0]:
                    pace.set(None)  # seen enough

            copy_disk(NbdSource(uri=slow), sink, journal=tmp_path / "two", epoch=1, options=options, progress=watch)
    assert ceilings, "the copy never gave way"
    assert ceilings[-1] < ceilings[0]
    assert run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(raw), str(tmp_path / "second.raw"))
