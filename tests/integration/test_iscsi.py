# SPDX-License-Identifier: Apache-2.0
"""Reading by iSCSI, without a cloud: from a real target in user space (tgtd), over QEMU's libiscsi."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coriolis.dataplane import FileSink, copy_disk
from coriolis.providers.api import Context, Gone, Unauthorized, Unavailable
from coriolis.providers.contract.blocks import check_same, read_source
from coriolis.providers.openstack.iscsi import IscsiPath, IscsiUnit, reading
from tests.lab.processes import Processes, listens, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("tgtd"), reason="not installed: tgt"),
]
MIB = 1 << 20
SIZE = 64 * MIB
TARGET = "iqn.2010-10.org.openstack:volume-6c2f5a0e-58a5-4bd5-9a57-0b1a6f2f1c11"
SECRET = "s3cret-of-chap"


@dataclasses.dataclass
class Target:
    """A tgtd with one target, whose bytes are in ``disk``."""

    folder: Path
    port: int

    def __post_init__(self) -> None:
        self.disk = self.folder / "disk"
        self.processes = Processes(self.folder, self.folder, self.folder)
        self._environment = {**os.environ, "TGT_IPC_SOCKET": str(self.folder / "tgt")}
        with self.disk.open("wb") as file:
            file.truncate(SIZE)

    @property
    def unit(self) -> IscsiUnit:
        return IscsiUnit(paths=(self.path(),), user="worker", password=SECRET)

    def path(self, **other: object) -> IscsiPath:
        return dataclasses.replace(IscsiPath(portal=f"127.0.0.1:{self.port}", target=TARGET, lun=1), **other)

    def up(self) -> None:
        self.processes.start("tgt", ["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{self.port}"], self._environment)
        assert wait_until(lambda: listens(self.port), 30, lambda: self.processes.pid("tgt") is not None)
        conf = self.folder / "conf"
        conf.write_text(
            f"<target {TARGET}>\nbacking-store {self.disk}\nincominguser worker {SECRET}\n"
            "params thin_provisioning=1\n</target>\n"
        )
        subprocess.run(["tgt-admin", "--conf", conf, "--execute"], check=True, env=self._environment)

    def down(self) -> None:
        self.processes.stop(["tgt"], signal.SIGKILL)


@pytest.fixture
def target(free_port: Callable[[], int]) -> Iterator[Target]:
    folder = Path(tempfile.mkdtemp(prefix="tgt-"))  # the path of a socket must be short
    made = Target(folder, free_port())
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder)


def context(folder: Path) -> Context:
    return Context(log=logging.getLogger("test"), scratch=folder, epoch=1, cancelled=threading.Event())


def put(target: Target, *places: int) -> bytes:
    """A MiB of its own at each of the places. All bytes of the disk."""
    with target.disk.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(random.Random(place).randbytes(MIB))
    return target.disk.read_bytes()


def test_all_bytes_and_no_holes(target: Target, tmp_path: Path) -> None:
    wanted = put(target, 0, 20 * MIB, SIZE - MIB)
    with reading(target.unit, context(tmp_path)) as source:
        check_same(read_source(source, SIZE), wanted)
        done = copy_disk(source, FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=1)
    assert done.bytes_read == 3 * MIB
    check_same((tmp_path / "out").read_bytes(), wanted)


def test_the_secret_is_in_no_arguments(target: Target, tmp_path: Path) -> None:
    with reading(target.unit, context(tmp_path)):
        seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        (server,) = [words for words in seen if words.startswith(b"qemu-nbd") and TARGET.encode() in words]
        assert SECRET.encode() not in server


def test_who_is_refused(target: Target, tmp_path: Path) -> None:
    wrong = dataclasses.replace(target.unit, password="another-secret")
    with pytest.raises(Unauthorized, match="refuses the name and secret"), reading(wrong, context(tmp_path)):
        pass
    nobody = dataclasses.replace(target.unit, user=None, password=None)
    with pytest.raises(Unauthorized), reading(nobody, context(tmp_path)):
        pass
    gone = dataclasses.replace(target.unit, paths=(target.path(target=TARGET + "2"),))
    with pytest.raises(Gone, match="does not exist"), reading(gone, context(tmp_path)):
        pass
    other = dataclasses.replace(target.unit, paths=(target.path(lun=7),))
    with pytest.raises((Gone, Unavailable)), reading(other, context(tmp_path)):
        pass


def test_a_portal_that_is_away_or_silent(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coriolis.dataplane.server._START_SECONDS", 5.0)
    put(target, 0)
    target.processes.pause("tgt")
    with pytest.raises(Unavailable), reading(target.unit, context(tmp_path)):
        pass
    target.down()
    with pytest.raises(Unavailable), reading(target.unit, context(tmp_path)):
        pass


def test_the_next_path_is_taken(target: Target, tmp_path: Path) -> None:
    wanted = put(target, 5 * MIB)
    away = target.path(portal="127.0.0.1:9")
    two = dataclasses.replace(target.unit, paths=(away, target.path()))
    with reading(two, context(tmp_path)) as source:
        check_same(read_source(source, SIZE), wanted)


def test_goes_on_when_the_portal_was_away(target: Target, tmp_path: Path) -> None:
    wanted = put(target, *range(0, SIZE, MIB))
    with reading(target.unit, context(tmp_path)) as source, ThreadPoolExecutor(1) as pool:
        target.down()
        copying = pool.submit(copy_disk, source, FileSink(path=tmp_path / "out"), journal=tmp_path / "journal", epoch=1)
        time.sleep(1)
        assert not copying.done()
        target.up()
        copying.result()
    check_same((tmp_path / "out").read_bytes(), wanted)
