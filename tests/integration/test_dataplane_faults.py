# SPDX-License-Identifier: Apache-2.0
"""What storage and networks do to a copy: the error says what happened, and the next call goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.dataplane import (
    Cancelled,
    CopyOptions,
    DiskFormat,
    FileSink,
    ImageSource,
    NbdSink,
    NbdSource,
    NoSpace,
    Progress,
    SinkError,
    SourceChanged,
    SourceError,
    SourceShrank,
    Stalled,
    copy_disk,
    open_sink,
    open_source,
    verify_disk,
)
from coriolis.dataplane.filters import Delay, Fault, Rate, filtered
from tests.integration.dataplane_disks import MIB, MISSING, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

OFTEN = CopyOptions(progress_seconds=0, flush_bytes=4 * MIB, flush_seconds=0.05, stall_seconds=20)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw", size=60 * MIB, runs=60)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("format", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_a_full_target_and_room_afterwards(raw: Path, tmp_path: Path, small: Path, format: DiskFormat) -> None:
    source, journal = ImageSource(path=raw), tmp_path / "journal"
    sink = FileSink(path=small / "out", format=format)
    with pytest.raises(NoSpace, match="no room left") as caught:
        copy_disk(source, sink, journal=journal, epoch=1, options=OFTEN)
    assert not caught.value.retryable
    run("mount", "-o", "remount,size=200m", str(small))
    result = copy_disk(source, sink, journal=journal, epoch=2, options=OFTEN)
    assert result.bytes_resumed > 0
    assert same(raw, sink.path, formats=("raw", format.value))


@contextlib.contextmanager
def qcow2_export(folder: Path, size: int) -> Iterator[str]:
    target = folder / "out.qcow2"
    if not target.exists():
        run("qemu-img", "create", "-q", "-f", "qcow2", str(target), str(size))
    with open_sink(FileSink(path=target, format=DiskFormat.QCOW2, create=False)) as export:
        yield export.uri


@pytest.mark.parametrize(
    ("fault", "expected", "retryable"),
    [
        (Fault(command="pwrite", error="ENOSPC", share=0.3), NoSpace, False),
        (Fault(command="pwrite", error="EIO", share=0.3), SinkError, True),
        (Fault(command="zero", error="EIO"), SinkError, True),
    ],
)
def test_a_target_that_fails(
    raw: Path, tmp_path: Path, fault: Fault, expected: type[SinkError], retryable: bool
) -> None:
    source, journal = ImageSource(path=raw), tmp_path / "journal"
    with qcow2_export(tmp_path, raw.stat().st_size) as uri:
        with filtered(uri, fault) as broken, pytest.raises(expected) as caught:
            copy_disk(source, NbdSink(uri=broken), journal=journal, epoch=1, options=OFTEN)
        assert type(caught.value) is expected
        assert caught.value.retryable is retryable
        copy_disk(source, NbdSink(uri=uri), journal=journal, epoch=1)
    assert same(raw, tmp_path / "out.qcow2", formats=("raw", "qcow2"))


def test_a_source_that_fails_for_a_while(raw: Path, tmp_path: Path) -> None:
    sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
    trigger = tmp_path / "broken"

    def break_at(progress: Progress) -> None:
        if progress.read > 20 * MIB:
            trigger.touch()

    with open_source(ImageSource(path=raw)) as good:
        with filtered(good.uri, Fault(command="pread", trigger=trigger), Rate(bytes_per_second=60 * MIB)) as uri:
            source = NbdSource(uri=uri, identity="snap-1")
            with pytest.raises(SourceError, match="at offset") as caught:
                copy_disk(source, sink, journal=journal, epoch=1, options=OFTEN, progress=break_at)
            assert caught.value.retryable
        # Through another server: nbdkit 1.32 may abort when a connection with replies under way is closed.
        source = NbdSource(uri=good.uri, identity="snap-1")
        result = copy_disk(source, sink, journal=journal, epoch=1, options=OFTEN)
    assert result.bytes_resumed > 0
    assert result.bytes_read + result.bytes_skipped + result.bytes_resumed == result.size
    assert same(raw, sink.path)


@pytest.mark.parametrize("side", ["source", "sink"])
def test_a_server_that_is_killed(raw: Path, tmp_path: Path, side: str) -> None:
    journal = tmp_path / "journal"
    with contextlib.ExitStack() as stack:
        source_uri = stack.enter_context(open_source(ImageSource(path=raw))).uri
        sink_uri = stack.enter_context(qcow2_export(tmp_path, raw.stat().st_size))
        slow_uri = stack.enter_context(filtered(source_uri, Rate(bytes_per_second=60 * MIB)))
        victim = slow_uri if side == "source" else sink_uri

        def kill(progress: Progress) -> None:
            if progress.read > 5 * MIB:
                _kill_server(victim)

        source = NbdSource(uri=slow_uri, identity="snap-1")
        with pytest.raises(SourceError if side == "source" else SinkError) as caught:
            copy_disk(source, NbdSink(uri=sink_uri), journal=journal, epoch=1, options=OFTEN, progress=kill)
        assert caught.value.retryable
    with qcow2_export(tmp_path, raw.stat().st_size) as uri:
        copy_disk(ImageSource(path=raw, identity="snap-1"), NbdSink(uri=uri), journal=journal, epoch=2, options=OFTEN)
    assert same(raw, tmp_path / "out.qcow2", formats=("raw", "qcow2"))


def _kill_server(uri: str) -> None:
    socket = uri.split("socket=")[1]
    for pid in subprocess.run(["pgrep", "-f", socket], capture_output=True, text=True, check=False).stdout.split():
        if "test" not in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(int(pid), 9)


@pytest.mark.parametrize("delay", [Delay(read_ms=60_000), Delay(write_ms=60_000)])
def test_a_hang_is_noticed(raw: Path, tmp_path: Path, delay: Delay) -> None:
    options = CopyOptions(stall_seconds=1)
    start = time.monotonic()  # the answer would come after a minute
    with open_source(ImageSource(path=raw)) as source, qcow2_export(tmp_path, raw.stat().st_size) as target:
        with filtered(source.uri if delay.read_ms else target, delay) as slow:
            from_uri, to_uri = (slow, target) if delay.read_ms else (source.uri, slow)
            with pytest.raises(Stalled, match="nothing moved") as caught:
                copy_disk(
                    NbdSource(uri=from_uri), NbdSink(uri=to_uri), journal=tmp_path / "j", epoch=1, options=options
                )
    assert caught.value.retryable
    assert time.monotonic() - start < 60


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        uri = f"nbd+unix:///?socket={tmp_path}/silent"
        with pytest.raises(Stalled, match="no answer to connect"):
            copy_disk(
                NbdSource(uri=uri),
                FileSink(path=tmp_path / "out"),
                journal=tmp_path / "journal",
                epoch=1,
                options=CopyOptions(stall_seconds=0.5),
            )


def test_cancel_is_felt_at_once_and_the_copy_goes_on_later(raw: Path, tmp_path: Path) -> None:
    sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
    read: list[int] = []

    def cancelled() -> bool:
        return bool(read) and read[-1] > 15 * MIB

    with open_source(ImageSource(path=raw)) as source, filtered(source.uri, Rate(bytes_per_second=30 * MIB)) as uri:
        slow = NbdSource(uri=uri, identity="snap-1")
        with pytest.raises(Cancelled):
            copy_disk(
                slow, sink, journal=journal, epoch=1, options=OFTEN,
                progress=lambda p: read.append(p.read), cancelled=cancelled,
            )  # fmt: skip
    assert [done for done in read if done > 15 * MIB] == read[-1:]  # nothing was reported after that
    result = copy_disk(ImageSource(path=raw, identity="snap-1"), sink, journal=journal, epoch=1)
    assert result.bytes_resumed > 0
    assert same(raw, sink.path)


# -- sources that change under our hands


@pytest.mark.parametrize("resize", [-20 * MIB, 0])
def test_an_image_that_changes_while_it_is_read(raw: Path, tmp_path: Path, resize: int) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(raw.read_bytes())

    def change(progress: Progress) -> None:
        if resize:
            os.truncate(image, image.stat().st_size + resize)
        with open(image, "r+b") as file:
            file.write(b"!")

    once = iter([change])
    with pytest.raises(SourceShrank if resize else SourceChanged):
        copy_disk(
            ImageSource(path=image),
            FileSink(path=tmp_path / "out"),
            journal=tmp_path / "journal",
            epoch=1,
            options=OFTEN,
            progress=lambda p: next(once, lambda _: None)(p),
        )
    # whatever was journalled before is not trusted for the changed image of the same size
    if not resize:
        copy_disk(ImageSource(path=image), FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=2)
        assert same(image, tmp_path / "out")


def test_an_export_shorter_than_announced(raw: Path, tmp_path: Path) -> None:
    with open_source(ImageSource(path=raw)) as source, pytest.raises(SourceShrank, match="announced"):
        copy_disk(
            NbdSource(uri=source.uri, size=raw.stat().st_size + 512),
            FileSink(path=tmp_path / "out"),
            journal=tmp_path / "journal",
            epoch=1,
        )


def test_an_export_that_refuses_its_end(raw: Path, tmp_path: Path) -> None:
    with open_source(ImageSource(path=raw)) as source:
        with filtered(source.uri, Fault(command="pread", error="EINVAL", share=0.1)) as uri:
            with pytest.raises(SourceShrank, match="although the disk was announced"):
                copy_disk(NbdSource(uri=uri), FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=1)


# -- targets that are not what was expected


def test_a_target_that_is_too_small(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(bytes(MIB))
    with pytest.raises(SinkError, match="larger target") as caught:
        copy_disk(
            ImageSource(path=raw),
            FileSink(path=tmp_path / "out", create=False),
            journal=tmp_path / "journal",
            epoch=1,
        )
    assert not caught.value.retryable


def test_a_target_that_is_not_there(raw: Path, tmp_path: Path) -> None:
    for sink in (
        FileSink(path=tmp_path / "nothing", create=False),
        FileSink(path=tmp_path / "nothing", create=False, format=DiskFormat.QCOW2),
        FileSink(path=Path("/proc/nothing/out")),
    ):
        with pytest.raises(SinkError) as caught:
            copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
        assert not caught.value.retryable


@pytest.mark.parametrize("format", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_a_target_that_disappeared_is_made_again(raw: Path, tmp_path: Path, format: DiskFormat) -> None:
    source, journal = ImageSource(path=raw, identity="snap-1"), tmp_path / "journal"
    sink = FileSink(path=tmp_path / "out", format=format)
    first = copy_disk(source, sink, journal=journal, epoch=1)
    assert copy_disk(source, sink, journal=journal, epoch=1).mode == "done"
    sink.path.unlink()
    again = copy_disk(source, sink, journal=journal, epoch=1)
    assert (again.mode, again.digest, again.bytes_resumed) == ("full", first.digest, 0)
    assert same(raw, sink.path, formats=("raw", format.value))


def test_a_journal_that_rotted_is_not_believed(raw: Path, tmp_path: Path) -> None:
    source, journal = ImageSource(path=raw, identity="snap-1"), tmp_path / "journal"
    sink = FileSink(path=tmp_path / "out")
    first = copy_disk(source, sink, journal=journal, epoch=1)
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    again = copy_disk(source, sink, journal=journal, epoch=2)
    assert (again.mode, again.digest) == ("compare", first.digest)
    assert (again.bytes_read, again.bytes_written) == (first.bytes_read, 0)  # the target was read back
    assert verify_disk(sink, journal=journal).digest == first.digest


DYING_SERVER = """
case "$1" in
  get_size) stat -c %s "$TARGET" ;;
  pread) dd if="$TARGET" bs=64k iflag=count_bytes,skip_bytes,fullblock count="$3" skip="$4" status=none ;;
  can_write|can_flush) exit 0 ;;
  pwrite) dd of="$TARGET" bs=64k oflag=seek_bytes conv=notrunc seek="$4" status=none ;;
  flush) if [ -e "$FUSE" ]; then rm "$FUSE"; kill -9 "$PPID"; fi ;;
  *) exit 2 ;;
esac
"""


def test_a_target_that_dies_while_it_flushes(tmp_path: Path) -> None:
    """What was not flushed is not believed: it is written again."""
    raw = make_raw(tmp_path / "disk.raw", size=12 * MIB)
    target, fuse, script = tmp_path / "target", tmp_path / "fuse", tmp_path / "plugin.sh"
    target.write_bytes(bytes(12 * MIB))
    fuse.touch()
    script.write_text("#!/bin/sh\n" + DYING_SERVER)
    script.chmod(0o700)
    environment = {**os.environ, "TARGET": str(target), "FUSE": str(fuse)}

    @contextlib.contextmanager
    def server(path: Path) -> Iterator[str]:
        process = subprocess.Popen(["nbdkit", "-f", "-U", str(path), "sh", str(script)], env=environment)
        try:
            deadline = time.monotonic() + 20
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"nbd+unix:///?socket={path}"
        finally:
            process.kill()
            process.wait()

    source, journal = ImageSource(path=raw, identity="snap-1"), tmp_path / "journal"
    with server(tmp_path / "one") as uri, pytest.raises(SinkError) as caught:
        copy_disk(source, NbdSink(uri=uri, zeroed=True), journal=journal, epoch=1)
    assert caught.value.retryable
    assert not fuse.exists()
    with server(tmp_path / "two") as uri:
        sink = NbdSink(uri=uri, zeroed=True)
        result = copy_disk(source, sink, journal=journal, epoch=2)
        assert result.bytes_resumed == 0  # nothing was durable
        assert verify_disk(sink, journal=journal).digest == result.digest
    assert same(raw, target)
