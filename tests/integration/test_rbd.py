# SPDX-License-Identifier: Apache-2.0
"""The worker's own access to volumes in Ceph, against a real cluster: read, write, differences, one writer."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbd
import pytest

from coriolis.dataplane import Extent, FileSink, ImageSource, Kind, copy_disk, verify_disk
from coriolis.providers.api import Conflict, Gone, Unauthorized, Unavailable
from coriolis.providers.contract.blocks import attached, check_same, read_source, write_sink
from coriolis.providers.openstack.rbd import never_written, reading, stop_writer, writing
from tests.integration.link_workers import Sites
from tests.integration.rbd_cluster import MIB, Volume, context, running
from tests.lab import ceph as lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not lab.available(), reason="not installed: Ceph"),
    pytest.mark.timeout(300),
]
CHILD = Path(__file__).with_name("rbd_copy_child.py")


@pytest.fixture(scope="module")
def ceph() -> Iterator[lab.Ceph]:
    with running() as found:
        yield found


@pytest.fixture
def volume(ceph: lab.Ceph) -> Volume:
    ceph.up()  # one test crashes a daemon: the next ones need it
    return Volume(ceph).create()


class TestReading:
    @pytest.mark.parametrize("conf", [True, False], ids=["its-ceph.conf", "monitors-of-cinder"])
    def test_reads_a_snapshot_while_the_volume_goes_on(self, volume: Volume, tmp_path: Path, conf: bool) -> None:
        volume.change(["write", 3, 700_001, 1], ["write", 20 * MIB, 5 * MIB, 2], ["snap", "one"])
        with reading(volume.copy("one").image(conf=conf), context(tmp_path)) as source:
            volume.change(["write", 0, 9 * MIB, 3], ["discard", 20 * MIB, 4 * MIB])
            found = read_source(source, 64 * MIB)
        assert source.size == 64 * MIB
        check_same(found, volume.content("one"))

    def test_holes_are_told_and_not_read(self, volume: Volume, tmp_path: Path) -> None:
        volume.change(["write", 20 * MIB, MIB, 2], ["snap", "one"])
        with reading(volume.copy("one").image(), context(tmp_path)) as source:
            result = copy_disk(source, FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=1)
        assert result.bytes_read <= 4 * MIB  # an object of Ceph
        check_same((tmp_path / "out").read_bytes(), volume.content("one"))

    def test_the_key_is_in_no_arguments(self, ceph: lab.Ceph, volume: Volume, tmp_path: Path) -> None:
        key = ceph.key("coriolis")
        other = Volume(ceph).create()
        with reading(volume.image(), context(tmp_path)), writing(other.image(), context(tmp_path)):
            servers = [seen for seen in map(_seen, _children()) if b"qemu-nbd" in seen]
            assert len(servers) == 2
            assert not any(key.encode() in seen for seen in servers)
        assert key not in repr(volume.image())

    def test_what_is_not_there_is_gone(self, ceph: lab.Ceph, tmp_path: Path) -> None:
        with pytest.raises(Gone, match="does not exist"), reading(Volume(ceph).image(), context(tmp_path)):
            pass
        with pytest.raises(Gone), writing(Volume(ceph).image(), context(tmp_path)):
            pass
        stop_writer(Volume(ceph).image(), context(tmp_path))

    def test_a_wrong_key_says_so(self, volume: Volume, ceph: lab.Ceph, tmp_path: Path) -> None:
        image = dataclasses.replace(volume.image(), key=ceph.key("glance"))
        with pytest.raises(Unauthorized, match="key is wrong"), reading(image, context(tmp_path)):
            pass
        other = dataclasses.replace(volume.image(), key=ceph.key("glance"), user="glance")  # no rights on the pool
        with pytest.raises(Unauthorized), reading(other, context(tmp_path)):
            pass

    def test_a_silent_cluster_is_unavailable(self, ceph: lab.Ceph, volume: Volume, tmp_path: Path) -> None:
        ceph.pause("mon")
        try:
            with pytest.raises(Unavailable), reading(volume.image(), context(tmp_path)):
                pass
        finally:
            ceph.resume("mon")


class TestWriting:
    def test_a_copy_arrives_and_zeros_are_never_written(self, volume: Volume, tmp_path: Path) -> None:
        raw, image = tmp_path / "raw", volume.image()
        data = [(0, 3 * MIB), (16 * MIB, 8192), (60 * MIB, MIB)]  # each at the begin of an object of Ceph
        _sparse(raw, 64 * MIB, data)
        assert never_written(image, context(tmp_path))
        with writing(image, context(tmp_path), zeroed=True) as sink:
            copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
            assert verify_disk(sink, journal=tmp_path / "journal").digest
        check_same(volume.content(), raw.read_bytes())
        assert not never_written(image, context(tmp_path))
        assert volume.allocated() == data

    def test_without_the_promise_old_bytes_go_away(self, volume: Volume, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        _sparse(raw, 64 * MIB, [(MIB, MIB)])
        volume.change(["write", 5 * MIB, 8 * MIB, 4])
        with writing(volume.image(), context(tmp_path)) as sink:
            copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
        check_same(volume.content(), raw.read_bytes())

    def test_killed_and_resumed(self, volume: Volume, tmp_path: Path) -> None:
        raw, journal = tmp_path / "raw", tmp_path / "journal"
        _sparse(raw, 64 * MIB, [(0, 64 * MIB)])
        child = _copying_child(volume, raw, journal, epoch=1)
        try:
            _until(lambda: journal.exists() and journal.stat().st_size > 16 * 64, child)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        with writing(volume.image(), context(tmp_path, epoch=2), zeroed=True) as sink:
            result = copy_disk(ImageSource(path=raw), sink, journal=journal, epoch=2)
        assert 0 < result.bytes_resumed < 64 * MIB
        check_same(volume.content(), raw.read_bytes())

    def test_goes_on_when_the_storage_was_away(self, ceph: lab.Ceph, volume: Volume, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        _sparse(raw, 64 * MIB, [(0, 64 * MIB)])
        with writing(volume.image(), context(tmp_path), zeroed=True) as sink:
            ceph.kill("osd")
            ceph.up()
            copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
        check_same(volume.content(), raw.read_bytes())


class TestOneWriter:
    def test_a_newer_attempt_locks_the_older_one_out(self, volume: Volume, tmp_path: Path) -> None:
        image = volume.image()
        with writing(image, context(tmp_path, epoch=1)) as old:
            with attached(old.uri) as zombie:
                zombie.pwrite(b"old" * 1000, 0)
                zombie.flush()
                with writing(image, context(tmp_path, epoch=2)) as new:
                    write_sink(new, [(0, b"new" * 1000)])
                    with pytest.raises(nbd.Error):
                        _write_through(zombie, b"bad" * 1000, 8 * MIB)
                    write_sink(new, [(30 * MIB, b"new" * 1000)])
        content = volume.content()
        assert content.startswith(b"new" * 1000)
        assert b"bad" not in content

    def test_one_that_slept_wakes_up_locked_out(self, volume: Volume, tmp_path: Path) -> None:
        raw, journal = tmp_path / "raw", tmp_path / "journal"
        _sparse(raw, 64 * MIB, [(0, 64 * MIB)])
        child = _copying_child(volume, raw, journal, epoch=1)
        try:
            _until(lambda: journal.exists() and journal.stat().st_size > 8 * 64, child)
            sleepers = [child.pid, *_children(child.pid)]
            for pid in sleepers:
                os.kill(pid, signal.SIGSTOP)
            with writing(volume.image(), context(tmp_path, epoch=2)) as sink:
                write_sink(sink, [(at * MIB, bytes(MIB)) for at in range(64)])
                for pid in sleepers:
                    os.kill(pid, signal.SIGCONT)
                child.wait(120)
        finally:
            child.kill()
            child.wait()
        assert child.returncode != 0
        check_same(volume.content(), bytes(64 * MIB))

    def test_an_older_attempt_is_refused(self, volume: Volume, tmp_path: Path) -> None:
        with writing(volume.image(), context(tmp_path, epoch=5)):
            with pytest.raises(Conflict, match="newer attempt"), writing(volume.image(), context(tmp_path, epoch=4)):
                pass
        with pytest.raises(Conflict, match="newer attempt"), writing(volume.image(), context(tmp_path, epoch=4)):
            pass
        with writing(volume.image(), context(tmp_path, epoch=5)):
            pass
        stop_writer(volume.image(), context(tmp_path))
        with writing(volume.image(), context(tmp_path, epoch=1)):
            pass

    def test_a_volume_in_use_is_refused_and_left_alone(self, volume: Volume, tmp_path: Path) -> None:
        with volume.held(["write", 0, MIB, 9]) as user:
            with pytest.raises(Conflict, match="attached to a server"), writing(volume.image(), context(tmp_path)):
                pass
        assert user.returncode == 0
        assert volume.allocated() == [(0, MIB)]

    def test_the_end_locks_a_writer_out(self, volume: Volume, tmp_path: Path) -> None:
        with writing(volume.image(), context(tmp_path)) as sink, attached(sink.uri) as zombie:
            stop_writer(volume.image(), context(tmp_path))
            with pytest.raises(nbd.Error):
                _write_through(zombie, b"bad", 0)
        assert volume.allocated() == []


class TestChanges:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("kind", ["plain", "clone", "flattened"])
    def test_are_the_bytes_that_differ(self, ceph: lab.Ceph, tmp_path: Path, kind: str, seed: int) -> None:
        dice = random.Random(f"{kind}{seed}")
        volume = _of_kind(ceph, kind, dice)
        volume.change(*_steps(dice, 32 * MIB), ["snap", "one"])
        if kind == "flattened":
            volume.change(["flatten"])
        volume.change(*_steps(dice, 32 * MIB), ["snap", "two"])
        before, after = volume.content("one"), volume.content("two")
        listed = _changes(volume, tmp_path)
        assert listed[0].offset == 0
        assert listed[-1].end == len(after)
        for extent in listed:
            span = slice(extent.offset, extent.end)
            if extent.kind is Kind.UNCHANGED:
                check_same(after[span], before[span])
            elif extent.kind is Kind.ZERO:
                check_same(after[span], bytes(extent.length))

    @pytest.mark.parametrize("how", ["grown", "shrunk-and-grown", "rolled-back", "sparsified"])
    def test_after_more_than_writes(self, volume: Volume, tmp_path: Path, how: str) -> None:
        volume.change(["write", 0, 64 * MIB, 1], ["zero", 8 * MIB, 8 * MIB], ["snap", "one"])
        volume.change(
            *{
                "grown": [["resize", 80 * MIB], ["write", 70 * MIB, MIB, 2]],
                "shrunk-and-grown": [["resize", 30 * MIB + 5], ["resize", 64 * MIB]],
                "rolled-back": [
                    ["write", MIB, MIB, 3],
                    ["snap", "mid"],
                    ["write", 40 * MIB, 9, 4],
                    ["rollback", "one"],
                ],
                "sparsified": [["sparsify"], ["write", 9 * MIB, 10, 5]],
            }[how],
            ["snap", "two"],
        )
        before, after = volume.content("one"), volume.content("two")
        listed = _changes(volume, tmp_path)
        patched = bytearray(before.ljust(len(after), b"\1")[: len(after)])
        for extent in listed:
            if extent.kind is not Kind.UNCHANGED:
                patched[extent.offset : extent.end] = after[extent.offset : extent.end]
        check_same(bytes(patched), after)

    @pytest.mark.parametrize("linked", [False, True], ids=["here", "from-another-worker"])
    def test_only_they_travel(self, volume: Volume, tmp_path: Path, linked: bool) -> None:
        sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
        volume.change(["write", 0, 48 * MIB, 1], ["snap", "one"])
        volume.change(
            ["write", 5 * MIB, 100, 2], ["write", 60 * MIB, MIB, 3], ["discard", 32 * MIB, 4 * MIB], ["snap", "two"]
        )
        for snapshot, since in (("one", None), ("two", "one")):
            passed = bytearray()
            with (
                reading(volume.copy(snapshot).image(), context(tmp_path), since=since) as found,
                contextlib.ExitStack() as stack,
            ):
                source = dataclasses.replace(found, identity=snapshot, base_identity=since)
                if linked:
                    source, _ = stack.enter_context(Sites(tmp_path).linked(source, passed))
                result = copy_disk(source, sink, journal=journal, epoch=1)
            check_same(sink.path.read_bytes(), volume.content(snapshot))
        assert result.mode == "dirty"
        assert MIB <= result.bytes_read <= 4 * MIB
        assert len(passed) <= (5 * MIB if linked else 0)

    def test_are_not_known_when_the_earlier_snapshot_is_gone(self, volume: Volume, tmp_path: Path) -> None:
        volume.change(["write", 0, MIB, 1], ["snap", "two"])
        with reading(volume.copy("two").image(), context(tmp_path), since="one") as source:
            assert source.changes is None

    def test_are_not_known_of_a_copy_that_was_flattened(self, volume: Volume, tmp_path: Path) -> None:
        volume.change(["snap", "one"], ["write", 0, MIB, 1], ["snap", "two"])
        copy = volume.copy("two")
        copy.change(["flatten"])
        with reading(copy.image(), context(tmp_path), since="one") as source:
            assert source.changes is None


def _changes(volume: Volume, folder: Path) -> tuple[Extent, ...]:
    """From its snapshot "one" to "two"."""
    with reading(volume.copy("two").image(), context(folder), since="one") as source:
        assert source.changes is not None
        return source.changes


def _of_kind(ceph: lab.Ceph, kind: str, dice: random.Random) -> Volume:
    """A new volume of 32 MiB, or one made from an image: Cinder clones those, and snapshots, too."""
    if kind == "plain":
        return Volume(ceph).create(32 * MIB)
    parent = Volume(ceph).create(32 * MIB)
    parent.change(*_steps(dice, 32 * MIB), ["snap", "snap"])
    return parent.copy("snap")


def _steps(dice: random.Random, size: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    for _ in range(dice.randint(2, 8)):
        word = dice.choice(["write", "write", "zero", "discard"])
        length = dice.choice([dice.randint(1, 5000), dice.randint(1, 3 * MIB), 4 * MIB])
        offset = dice.randrange(0, size - length + 1)
        if dice.random() < 0.4:
            offset = offset // (4 * MIB) * 4 * MIB
        found.append([word, offset, length, *([dice.randrange(1 << 30)] if word == "write" else [])])
    return found


def _sparse(path: Path, size: int, data: list[tuple[int, int]]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, length in data:
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))


def _write_through(handle: Any, data: bytes, offset: int) -> None:
    handle.pwrite(data, offset)
    handle.flush()


def _copying_child(volume: Volume, raw: Path, journal: Path, *, epoch: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(CHILD), str(volume.ceph.home.path), volume.name, str(raw), str(journal), str(epoch)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[2])


def _children(pid: int | None = None) -> list[int]:
    """All descendants of a process, of this one by default."""
    found: list[int] = []
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_children(child)]
    return found


def _seen(pid: int) -> bytes:
    """What any user may see of a process, and what root may."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def _until(holds: Any, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert child.poll() is None, "the child has ended"
        assert time.monotonic() < end, "nothing moves"
        time.sleep(0.01)
