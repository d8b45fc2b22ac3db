# SPDX-License-Identifier: Apache-2.0
"""Each filter in front of a real server, on either side of a copy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coriolis.dataplane import (
    CopyOptions,
    DiskFormat,
    FileSink,
    ImageSource,
    NbdSink,
    NbdSource,
    NoSpace,
    SinkError,
    SourceError,
    Stalled,
    copy_disk,
    open_sink,
    open_source,
)
from coriolis.dataplane.filters import Cut, Delay, FaultAt, Filter, Hang, Retry, Stats, filtered
from coriolis.worker.kinds.filtering import behind_filters
from coriolis.worker.settings import WorkerSettings
from tests.integration.dataplane_disks import MIB, MISSING, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

OPTIONS = CopyOptions(stall_seconds=3, flush_bytes=2 * MIB)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_raw(tmp_path / "disk.raw", size=24 * MIB, runs=30)


@pytest.mark.parametrize(
    ("broken", "expected", "says"),
    [
        (FaultAt(command="pread", offset=24 * MIB - 1), SourceError, "Input/output error"),
        (FaultAt(command="pread", after_bytes=2 * MIB), SourceError, "Input/output error"),
        (FaultAt(command="extents"), SourceError, "EIO"),
        (Cut(command="pread", after_bytes=2 * MIB), SourceError, "not connected|the copy goes on"),
        (Hang(command="pread", after_bytes=2 * MIB), Stalled, "nothing moved"),
    ],
)
def test_a_source_that_breaks(raw: Path, tmp_path: Path, broken: Filter, expected: type[Exception], says: str) -> None:
    sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
    with open_source(ImageSource(path=raw)) as export:
        with filtered(export.uri, broken) as uri, pytest.raises(expected, match=says):
            copy_disk(NbdSource(uri=uri, identity="snap-1"), sink, journal=journal, epoch=1, options=OPTIONS)
        copy_disk(NbdSource(uri=export.uri, identity="snap-1"), sink, journal=journal, epoch=2)
    assert same(raw, sink.path)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (FaultAt(command="pwrite", error="ENOSPC", after_bytes=3 * MIB), NoSpace),
        (FaultAt(command="flush"), SinkError),
        (Cut(command="flush"), SinkError),
        (Cut(command="pwrite", after_bytes=3 * MIB), SinkError),
        (Hang(command="flush"), Stalled),
    ],
)
def test_a_target_that_breaks(raw: Path, tmp_path: Path, broken: Filter, expected: type[Exception]) -> None:
    source, journal, target = ImageSource(path=raw, identity="snap-1"), tmp_path / "journal", tmp_path / "out.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", str(target), str(24 * MIB))
    with open_sink(FileSink(path=target, format=DiskFormat.QCOW2, create=False)) as export:
        with filtered(export.uri, broken) as uri, pytest.raises(expected):
            copy_disk(source, NbdSink(uri=uri), journal=journal, epoch=1, options=OPTIONS)
        copy_disk(source, NbdSink(uri=export.uri), journal=journal, epoch=2)
    assert same(raw, target, formats=("raw", "qcow2"))


def test_a_filter_that_tries_again_hides_a_cut(raw: Path, tmp_path: Path) -> None:
    sink = FileSink(path=tmp_path / "out")
    with open_source(ImageSource(path=raw)) as export:
        with filtered(export.uri, Retry(times=3, seconds=1), Cut(command="pread", after_bytes=MIB, times=1)) as uri:
            copy_disk(NbdSource(uri=uri), sink, journal=tmp_path / "journal", epoch=1)
    assert same(raw, sink.path)


def test_stats_say_what_passed(raw: Path, tmp_path: Path) -> None:
    log = tmp_path / "stats"
    with open_source(ImageSource(path=raw)) as export:
        with filtered(export.uri, Stats(path=log), Delay(read_ms=1)) as uri:
            copy_disk(NbdSource(uri=uri), FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=1)
    assert "read" in log.read_text()


def test_an_operator_puts_filters_in_front_of_an_export(raw: Path, tmp_path: Path) -> None:
    sink = FileSink(path=tmp_path / "out")
    with open_source(ImageSource(path=raw)) as export:
        command = [
            sys.executable,
            "-m",
            "coriolis.dataplane.filters",
            export.uri,
            "delay:read_ms=1;fault-at:command=trim",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            uri = process.stdout.readline().strip()
            copy_disk(NbdSource(uri=uri), sink, journal=tmp_path / "journal", epoch=1)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(30) == 0
    assert same(raw, sink.path)
    assert not Path(uri.split("socket=")[1]).exists()


def test_a_workers_options_put_filters_in_front_of_both_sides(raw: Path, tmp_path: Path) -> None:
    target, logs = tmp_path / "out.qcow2", [tmp_path / "source.log", tmp_path / "sink.log"]
    run("qemu-img", "create", "-q", "-f", "qcow2", str(target), str(24 * MIB))
    settings = WorkerSettings(
        host="here",
        state_path=tmp_path,
        copy_source_filters=f"stats:path={logs[0]}",
        copy_sink_filters=f"stats:path={logs[1]}",
    )
    with open_sink(FileSink(path=target, format=DiskFormat.QCOW2, create=False)) as export:
        with behind_filters(ImageSource(path=raw), export, settings) as (near, far):
            copy_disk(near, far, journal=tmp_path / "journal", epoch=1)
    assert same(raw, target, formats=("raw", "qcow2"))
    assert "read" in logs[0].read_text()
    assert "write" in logs[1].read_text()
    plain = WorkerSettings(host="here", state_path=tmp_path)
    with behind_filters(ImageSource(path=raw), NbdSink(uri="nbd://a"), plain) as both:
        assert both == (ImageSource(path=raw), NbdSink(uri="nbd://a"))
