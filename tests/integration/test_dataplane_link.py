# SPDX-License-Identifier: Apache-2.0
"""Two sites and a link between them, on real sockets: bytes arrive equal, and nobody else gets in."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import (
    CopyOptions,
    FileSink,
    ImageSource,
    NbdSink,
    NbdSource,
    Progress,
    SourceError,
    copy_disk,
    open_sink,
    open_source,
)
from coriolis.dataplane.link import CLEAR, BadCredentials, LinkFailed, offer, reach
from coriolis.providers.contract.blocks import check_same
from tests.integration.dataplane_disks import MIB, MISSING, make_raw, run, same
from tests.integration.link_sides import DESTINATION, SOURCE, eavesdropper, side

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

OFTEN = CopyOptions(progress_seconds=0, flush_bytes=4 * MIB, flush_seconds=0.05, stall_seconds=30)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw", size=60 * MIB, runs=60)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    return tmp_path / "certificates"


@contextlib.contextmanager
def linked(folder: Path, uri: str, **how: Any) -> Iterator[tuple[str, int]]:
    """The address on the other side, and the pid of the relay that offers. A link breaks when that one is killed."""
    source, destination = side(folder, SOURCE), side(folder, DESTINATION)
    with offer(uri, peers=[DESTINATION], credentials=source, **how) as offered:
        there = ("127.0.0.1", offered.port)
        with reach(there, name=SOURCE, credentials=destination, export="disk", **how) as here:
            yield here.uri, offered.pid


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
@pytest.mark.parametrize("connections", [1, 3])
def test_a_copy_through_a_link_is_equal(
    raw: Path, tmp_path: Path, certificates: Path, mode: str, connections: int
) -> None:
    sink = FileSink(path=tmp_path / "copy.raw")
    with (
        open_source(ImageSource(path=raw)) as export,
        linked(certificates, export.uri, mode=mode) as (uri, _),
    ):
        options = CopyOptions(connections=connections)
        done = copy_disk(NbdSource(uri=uri), sink, journal=tmp_path / "journal", epoch=1, options=options)
    assert done.bytes_skipped > 0  # holes are seen through it
    check_same(raw.read_bytes(), sink.path.read_bytes())


def test_a_target_behind_a_link_is_written(raw: Path, tmp_path: Path, certificates: Path) -> None:
    target = tmp_path / "target.raw"
    run("truncate", "-s", str(raw.stat().st_size), str(target))
    with (
        open_sink(FileSink(path=target, create=False)) as export,
        linked(certificates, export.uri, mode="on") as (uri, _),
    ):
        copy_disk(ImageSource(path=raw), NbdSink(uri=uri), journal=tmp_path / "journal", epoch=1)
    assert same(raw, target)


def test_a_cut_link_is_resumed_by_the_journal(tmp_path: Path, certificates: Path) -> None:
    raw = make_raw(tmp_path / "disk.raw", size=120 * MIB, runs=150)
    sink, journal = FileSink(path=tmp_path / "copy.raw"), tmp_path / "journal"
    with open_source(ImageSource(path=raw)) as export:
        with linked(certificates, export.uri) as (uri, relay):

            def cut(now: Progress) -> None:
                if now.done > 40 * MIB:
                    os.kill(relay, signal.SIGKILL)

            source = NbdSource(uri=uri, identity="one")
            with pytest.raises(SourceError) as failed:
                copy_disk(source, sink, journal=journal, epoch=1, options=OFTEN, progress=cut)
            assert failed.value.retryable
        with linked(certificates, export.uri) as (uri, _):
            done = copy_disk(NbdSource(uri=uri, identity="one"), sink, journal=journal, epoch=2, options=OFTEN)
    assert done.bytes_resumed > 0
    assert same(raw, sink.path)


@contextlib.contextmanager
def offered(folder: Path, raw: Path, **changes: Any) -> Iterator[tuple[str, int]]:
    how = {"peers": [DESTINATION], **(changes or {"credentials": side(folder, SOURCE)})}
    with open_source(ImageSource(path=raw)) as export, offer(export.uri, **how) as found:
        yield "127.0.0.1", found.port


def refusal(there: tuple[str, int], credentials: Any, name: str = SOURCE) -> str:
    with pytest.raises(LinkFailed) as failed, reach(there, name=name, credentials=credentials):
        pass
    return str(failed.value)


def test_a_peer_of_another_authority_is_refused(raw: Path, certificates: Path) -> None:
    with offered(certificates, raw) as there:
        text = refusal(there, side(certificates, DESTINATION, authority="theirs"))
        assert "authority" in text or "unknown ca" in text


def test_a_server_of_another_authority_is_refused(raw: Path, certificates: Path) -> None:
    side(certificates, SOURCE)
    with offered(certificates, raw, credentials=side(certificates, SOURCE, authority="theirs")) as there:
        assert "not accepted" in refusal(there, side(certificates, DESTINATION))


def test_an_expired_certificate_is_refused_on_either_side(raw: Path, certificates: Path) -> None:
    old = dt.timedelta(hours=48)
    with offered(certificates, raw) as there:
        assert "expired" in refusal(there, side(certificates, DESTINATION, age=old))
    with offered(certificates, raw, credentials=side(certificates, SOURCE, age=old)) as there:
        assert "expired" in refusal(there, side(certificates, DESTINATION))


def test_a_good_certificate_of_another_name_is_refused(raw: Path, certificates: Path) -> None:
    with offered(certificates, raw) as there:
        assert "stranger.example may not use this export" in refusal(there, side(certificates, "stranger.example"))
        assert "not accepted" in refusal(there, side(certificates, DESTINATION), name="elsewhere.example")


def test_clear_text_is_refused_where_tls_is_wanted(raw: Path, certificates: Path) -> None:
    with offered(certificates, raw) as there:
        assert "TLS" in refusal(there, CLEAR)
        with socket.create_connection(there, 10) as plain:  # an NBD client that knows nothing of links
            plain.settimeout(30)
            said = b""
            with contextlib.suppress(ConnectionError):
                plain.sendall(b"\0\0\0\3" + b"IHAVEOPT" * 20)
                said = plain.recv(100)
            assert b"NBDMAGIC" not in said


def test_nothing_readable_passes_over_the_wire(tmp_path: Path, certificates: Path) -> None:
    secret = b"the secret of this disk "
    raw = tmp_path / "disk.raw"
    raw.write_bytes((secret * (4 * MIB // len(secret) + 1))[: 4 * MIB])
    source, destination = side(certificates, SOURCE), side(certificates, DESTINATION)
    for credentials, seen in (((source, destination), False), ((CLEAR, CLEAR), True)):
        passed = bytearray()
        with (
            open_source(ImageSource(path=raw)) as export,
            offer(export.uri, peers=[DESTINATION], credentials=credentials[0], mode="off") as found,
            eavesdropper(found.port, passed) as port,
            reach(("127.0.0.1", port), name=SOURCE, credentials=credentials[1], export="disk", mode="off") as here,
        ):
            sink = FileSink(path=tmp_path / f"copy-{seen}.raw")
            source = NbdSource(uri=here.uri, channel=here.channel)
            copy_disk(source, sink, journal=tmp_path / f"journal-{seen}", epoch=1)
        assert len(passed) > 4 * MIB
        assert (secret in passed) is seen


def test_clear_text_is_said_in_the_log(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        open_source(ImageSource(path=raw)) as export,
        offer(export.uri, peers=[], credentials=CLEAR) as found,
        reach(("127.0.0.1", found.port), name="", credentials=CLEAR, export="disk"),
    ):
        assert [record.getMessage().split(" as ")[0] for record in caplog.records] == ["disk bytes pass in clear,"] * 2


def test_a_key_that_others_can_read_is_not_used(raw: Path, certificates: Path) -> None:
    mine = side(certificates, SOURCE)
    mine.key.chmod(0o640)
    with open_source(ImageSource(path=raw)) as export, pytest.raises(BadCredentials, match="chmod 0600"):
        with offer(export.uri, peers=[DESTINATION], credentials=mine):
            pass


def test_no_file_of_the_link_is_left_and_no_process(raw: Path, tmp_path: Path, certificates: Path) -> None:
    with open_source(ImageSource(path=raw)) as export, linked(certificates, export.uri) as (_, pid):
        assert Path(f"/proc/{pid}").exists()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_exports_take_the_ports_that_they_may(raw: Path, certificates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, open_source(ImageSource(path=raw)) as export:
        port = taken.getsockname()[1]
        mine = side(certificates, SOURCE)
        with offer(export.uri, peers=[DESTINATION], credentials=mine, ports=range(port, port + 40)) as found:
            assert port < found.port < port + 40
        with pytest.raises(LinkFailed, match=f"no port of {port}-{port} is free") as failed:
            with offer(export.uri, peers=[DESTINATION], credentials=mine, ports=range(port, port + 1)):
                pass
        assert failed.value.retryable
