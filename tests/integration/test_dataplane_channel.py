# SPDX-License-Identifier: Apache-2.0
"""The engine reads a far export through a channel: whole copies, increments, and everything that can go wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import (
    CopyOptions,
    DataplaneError,
    FileSink,
    ImageSource,
    NbdSource,
    Progress,
    SourceError,
    Stalled,
    copy_disk,
    digest_disk,
    open_source,
    verify_disk,
)
from coriolis.dataplane.filters import FaultAt, Filter, Hang, filtered
from coriolis.dataplane.link import LinkFailed, channel, offer, reach
from coriolis.dataplane.link.process import Reached
from coriolis.providers.contract.blocks import check_same
from coriolis.worker.kinds.filtering import behind_filters
from coriolis.worker.settings import WorkerSettings
from tests.integration.dataplane_disks import MIB, MISSING, make_raw, same
from tests.integration.link_sides import DESTINATION, SOURCE, side
from tests.integration.test_dataplane_increments import Guest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

OFTEN = CopyOptions(progress_seconds=0, flush_bytes=4 * MIB, flush_seconds=0.05, stall_seconds=30)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw", size=60 * MIB, runs=60)


@contextlib.contextmanager
def linked(folder: Path, uri: str, *, export: str = "", **how: Any) -> Iterator[tuple[Reached, int]]:
    """The other side, and the pid of the relay that offers."""
    source, destination = side(folder, SOURCE), side(folder, DESTINATION)
    with offer(uri, peers=[DESTINATION], credentials=source, **how) as offered:
        there = ("127.0.0.1", offered.port)
        with reach(there, name=SOURCE, credentials=destination, export=export, **how) as here:
            yield here, offered.pid


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
@pytest.mark.parametrize("connections", [1, 3])
def test_a_copy_through_a_channel_is_equal(raw: Path, tmp_path: Path, mode: str, connections: int) -> None:
    sink = FileSink(path=tmp_path / "copy.raw")
    with (
        open_source(ImageSource(path=raw)) as export,
        linked(tmp_path / "certificates", export.uri, export="disk", mode=mode) as (here, _),
    ):
        source = NbdSource(uri=here.uri, channel=here.channel)
        options = CopyOptions(connections=connections)
        done = copy_disk(source, sink, journal=tmp_path / "journal", epoch=1, options=options)
    assert done.bytes_skipped > 0  # holes are not read
    check_same(raw.read_bytes(), sink.path.read_bytes())


def test_an_increment_over_a_link_brings_what_the_bitmap_says(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    guest.begin("b0")

    def copied(identity: str, bitmap: str | None, base: str | None) -> Any:
        with guest.export(bitmap) as uri, linked(tmp_path / "certificates", uri) as (here, _):
            source = NbdSource(uri=here.uri, identity=identity, bitmap=bitmap, base_identity=base, channel=here.channel)
            return copy_disk(source, guest.sink, journal=guest.journal, epoch=1)

    assert copied("one", None, None).mode == "full"
    guest.write("write -P 0x33 10M 1M", "write -P 0x44 30M 128k")
    done = copied("two", "b0", "one")
    assert (done.mode, done.bytes_read, done.bytes_written) == ("dirty", MIB + 128 * 1024, MIB + 128 * 1024)
    assert isinstance(guest.sink, FileSink)
    assert same(guest.image, guest.sink.path, formats=("qcow2", "raw"))
    read_back = verify_disk(guest.sink, journal=guest.journal).digest
    assert done.digest == read_back == digest_disk(ImageSource(path=guest.image)).digest


@pytest.mark.parametrize("who", ["offering", "reaching"])
def test_a_link_that_breaks_is_a_fault_of_the_source_and_resumed(tmp_path: Path, who: str) -> None:
    raw = make_raw(tmp_path / "disk.raw", size=120 * MIB, runs=150)
    sink, journal = FileSink(path=tmp_path / "copy.raw"), tmp_path / "journal"
    with open_source(ImageSource(path=raw)) as export:
        with linked(tmp_path / "certificates", export.uri, export="disk") as (here, relay):

            def cut(now: Progress) -> None:
                if now.done > 40 * MIB:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(relay if who == "offering" else here.pid, signal.SIGKILL)

            source = NbdSource(uri=here.uri, identity="one", channel=here.channel)
            with pytest.raises(SourceError) as failed:
                copy_disk(source, sink, journal=journal, epoch=1, options=OFTEN, progress=cut)
            assert failed.value.retryable
        with linked(tmp_path / "certificates", export.uri, export="disk") as (here, _):
            source = NbdSource(uri=here.uri, identity="one", channel=here.channel)
            done = copy_disk(source, sink, journal=journal, epoch=2, options=OFTEN)
    assert done.bytes_resumed > 0
    check_same(raw.read_bytes(), sink.path.read_bytes())


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (FaultAt(command="pread", offset=24 * MIB - 1), SourceError, "Input/output error"),
        (Hang(command="pread", after_bytes=2 * MIB), Stalled, "nothing moved"),
    ],
)
def test_what_the_far_export_says_arrives(
    raw: Path, tmp_path: Path, fault: Filter, kind: type[DataplaneError], text: str
) -> None:
    options = CopyOptions(stall_seconds=3)
    with (
        open_source(ImageSource(path=raw)) as export,
        filtered(export.uri, fault) as uri,
        linked(tmp_path / "certificates", uri, export="disk") as (here, _),
    ):
        source, sink = NbdSource(uri=here.uri, channel=here.channel), FileSink(path=tmp_path / "copy")
        with pytest.raises(kind, match=text):
            copy_disk(source, sink, journal=tmp_path / "journal", epoch=1, options=options)


def test_an_export_with_room_for_one_client_is_read_all_the_same(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel, "SECONDS", 1.0)
    path, sink = tmp_path / "nbd", FileSink(path=tmp_path / "copy")
    server = subprocess.Popen(["qemu-nbd", "-r", "-t", "-e", "1", "-f", "raw", "-k", str(path), str(raw)])
    try:
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.01)
        with linked(tmp_path / "certificates", f"nbd+unix:///?socket={path}") as (here, _):
            source = NbdSource(uri=here.uri, channel=here.channel)
            copy_disk(source, sink, journal=tmp_path / "journal", epoch=1)
    finally:
        server.kill()
        server.wait()
    assert "without a channel" in caplog.text
    check_same(raw.read_bytes(), sink.path.read_bytes())


def test_the_filters_of_an_operator_are_not_passed_by(raw: Path, tmp_path: Path) -> None:
    settings = WorkerSettings(host="here", state_path=tmp_path, copy_source_filters="fault-at:command=pread")
    with (
        open_source(ImageSource(path=raw)) as export,
        linked(tmp_path / "certificates", export.uri, export="disk") as (here, _),
        behind_filters(NbdSource(uri=here.uri, channel=here.channel), FileSink(path=tmp_path / "copy"), settings) as (
            source,
            sink,
        ),
    ):
        with pytest.raises(SourceError, match="Input/output error"):
            copy_disk(source, sink, journal=tmp_path / "journal", epoch=1)


def test_an_export_of_another_name_is_refused(raw: Path, tmp_path: Path) -> None:
    with (
        open_source(ImageSource(path=raw)) as export,
        linked(tmp_path / "certificates", export.uri, export="other") as (here, _),
        pytest.raises(LinkFailed, match="does not answer as it should"),
    ):
        here.channel()


def test_a_channel_to_nobody_is_a_failed_link_that_may_be_tried_again(raw: Path, tmp_path: Path) -> None:
    with (
        open_source(ImageSource(path=raw)) as export,
        linked(tmp_path / "certificates", export.uri, export="disk") as (here, relay),
    ):
        os.kill(relay, signal.SIGKILL)
        with pytest.raises(LinkFailed) as failed:
            here.channel()
    assert failed.value.retryable
