# SPDX-License-Identifier: Apache-2.0
"""Volumes at the worker's own server: which one it is, its disks, and who may have a volume. Cinder and Nova are fakes;
the server that the bytes go through is qemu-nbd."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openstack.exceptions import (
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    SDKException,
)

from coriolis.conf.openstack import OWN_SERVERS
from coriolis.providers.api import Conflict, Context, Invalid, Unavailable
from coriolis.providers.openstack.block_devices import device_of
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.server_access import SERVERS, is_id, read_servers, server_of
from coriolis.providers.openstack.transports import worker
from coriolis.providers.openstack.transports.choice import choose
from coriolis.providers.openstack.transports.marks import forget_marked
from coriolis.providers.openstack.volume_epochs import EPOCH

URL = "https://cloud.example:5000/v3"
OURS = "0b6f3b8e-5a1f-4f7e-9f57-2a52b6a0c001"
OTHER = "0b6f3b8e-5a1f-4f7e-9f57-2a52b6a0c002"
USERS = "0b6f3b8e-5a1f-4f7e-9f57-2a52b6a0c003"
VOLUME = "7d4c7d6c-5f0b-4b0a-8d1e-6b8e0d9a1c11"


class _Fake:
    """One volume of 1 MiB and three servers. ``stubborn``: they do not let volumes go. ``busy``: so often Nova does
    something else with them. ``attaching``, ``detaching``: are called just before Nova does that. ``asked``: what Nova
    was asked for, and took."""

    def __init__(self, disk: Path) -> None:
        self.metadata: dict[str, str] = {}
        self.holder: str | None = None
        self.stubborn = False
        self.busy = 0
        self.gone = False
        self.asked: list[str] = []
        self.attaching: Callable[[], None] = lambda: None
        self.detaching: Callable[[], None] = lambda: None
        self.disk = disk

    # Cinder

    def get_volume(self, _volume: str) -> Any:
        if self.gone:
            raise NotFoundException("no such volume")
        attachments = [{"server_id": self.holder}] if self.holder else []
        status = "in-use" if self.holder else "available"
        return SimpleNamespace(id=VOLUME, status=status, metadata=dict(self.metadata), attachments=attachments)

    def set_volume_metadata(self, _volume: str, **items: str) -> None:
        self.metadata |= items

    def delete_volume_metadata(self, _volume: str, names: list[str]) -> None:
        for name in names:
            self.metadata.pop(name, None)

    def attachments(self, volume_id: str) -> list[Any]:
        return [SimpleNamespace(id="a", instance=self.holder)] if self.holder else []

    # Nova

    def get_server(self, ident: str) -> Any:
        if ident not in (OURS, OTHER, USERS):
            raise NotFoundException("no such server")
        return SimpleNamespace(id=ident, name="worker", project_id="p" if ident != USERS else "q")

    def create_volume_attachment(self, server: Any, *, volume_id: str) -> None:
        self.attaching()
        self._at_it()
        if self.holder:
            raise BadRequestException("volume is in use", http_status=400)
        self.asked.append(f"attach {server.id}")
        self.holder = server.id

    def delete_volume_attachment(self, server: str, _volume: str, **_more: Any) -> None:
        self.detaching()
        self._at_it()
        self.asked.append(f"detach {server}")
        if self.holder != server:
            raise NotFoundException("not attached")
        if not self.stubborn:
            self.holder = None

    def _at_it(self) -> None:
        if self.busy:
            self.busy -= 1
            raise ConflictException("Cannot do that while instance is in task_state migrating", http_status=409)


class _NoTime(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Fake:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    fake = _Fake(disk)
    monkeypatch.setattr(worker, "device_of", lambda _volume: disk if fake.holder == OURS else None)
    _tell(tmp_path, monkeypatch, OURS)
    return fake


@pytest.fixture
def cloud(fake: _Fake) -> Any:
    return SimpleNamespace(
        cinder=fake, sdk=SimpleNamespace(compute=fake), proven=True, auth_url=URL, project_id="p", name="cloud"
    )


def _tell(folder: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """What the operator says."""
    file = folder / "own-servers.ini"
    file.write_text(f"[east]\nauth_url = {URL}\nserver = {server}\n")
    monkeypatch.setenv(SERVERS, str(file))


def attempt(folder: Path, epoch: int) -> Context:
    return Context(log=logging.getLogger(), scratch=folder, epoch=epoch, cancelled=_NoTime())


def qemu_io(uri: str, *commands: str) -> None:
    words = [word for one in commands for word in ("-c", one)]
    mode = [] if commands[0].startswith("write") else ["-r"]
    subprocess.run(["qemu-io", *mode, "-f", "raw", *words, uri], check=True, capture_output=True)


class TestOperatorsFile:
    def test_a_server_of_each_cloud(self, tmp_path: Path) -> None:
        file = tmp_path / "servers"
        file.write_text(f"[a]\nauth_url={URL}\nserver={OURS}\n[b]\nauth_url=https://b.example/v3\nserver={OTHER}\n")
        servers = read_servers(str(file))
        assert server_of(servers, "https://CLOUD.example:5000/") == OURS
        assert server_of(servers, "https://b.example") == OTHER
        assert server_of(servers, "https://c.example") is None
        assert read_servers(None) == ()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"[a]\nserver = {OURS}\n", "give auth_url"),
            (f"[a]\nauth_url = {URL}\nserver = web-1\n", "no id of a server"),
            (f"[a]\nauth_url = {URL}\nserver = ../{OURS}\n", "no id of a server"),
            (f"[a]\nauth_url={URL}\nserver={OURS}\n[b]\nauth_url={URL}/\nserver={OTHER}\n", "one server of it"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        file = tmp_path / "servers"
        file.write_text(text)
        with pytest.raises(Invalid, match=said):
            read_servers(str(file))

    def test_the_option_and_the_provider_mean_the_same_variable(self) -> None:
        assert SERVERS == OWN_SERVERS


class TestDisks:
    @pytest.fixture
    def block(self, tmp_path: Path) -> Path:
        """As Linux shows a virtio disk with a partition, a SCSI disk and a loop device."""
        files = {
            "vda/serial": b"another",
            "vdb/serial": VOLUME[:20].encode(),
            "sda/device/vpd_pg80": b"\x00\x80\x00\x24" + OTHER.encode(),
            "vdb1/partition": b"1\n",
            "loop0/size": b"0\n",
        }
        for name, content in files.items():
            path = tmp_path / "block" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "block"

    def test_by_their_serial_numbers(self, block: Path) -> None:
        assert device_of(VOLUME, block=block) == Path("/dev/vdb")
        assert device_of(OTHER, block=block) == Path("/dev/sda")
        assert device_of(OURS, block=block) is None

    def test_one_that_goes_away_meanwhile(self, block: Path) -> None:
        (block / "vdc").symlink_to(block / "nothing")
        assert device_of(OTHER, block=block) == Path("/dev/sda")


class TestWhyNot:
    def test_it_is_possible(self, cloud: Cloud, tmp_path: Path) -> None:
        assert worker.why_not(cloud, {}, attempt(tmp_path, 1)) is None
        assert choose(cloud, "auto", {}, attempt(tmp_path, 1), volume_id=VOLUME, to_write=True) == "worker"

    @pytest.mark.parametrize("server", [USERS, VOLUME])
    def test_a_server_of_another_project(
        self, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
    ) -> None:
        _tell(tmp_path, monkeypatch, server)
        assert "not in the project" in str(worker.why_not(cloud, {}, attempt(tmp_path, 1)))

    def test_the_operator_says_nothing(self, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(SERVERS)
        assert "has not said" in str(worker.why_not(cloud, {}, attempt(tmp_path, 1)))

    def test_a_cloud_that_may_be_anybodys(self, cloud: Any, tmp_path: Path) -> None:
        """It could name another tenant's volume, whose disk this machine has at the moment."""
        cloud.proven = False
        assert "proves who it is" in str(worker.why_not(cloud, {}, attempt(tmp_path, 1)))
        with pytest.raises(Invalid), worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 1)):
            pytest.fail("it was let in")


class TestBytes:
    def test_they_go_in_and_come_out(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        with worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 1)) as sink:
            qemu_io(sink.uri, "write -P 0x5a 64k 4k")  # type: ignore[union-attr]
            assert fake.metadata[EPOCH] == "1"
            assert fake.metadata[worker.MARK].startswith(f"{OURS} 1 ")
        assert fake.disk.read_bytes()[65536:69632] == b"\x5a" * 4096
        with worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)) as source:
            qemu_io(source.uri, "read -P 0x5a 64k 4k")  # type: ignore[union-attr]
        assert fake.asked == [f"attach {OURS}", f"detach {OURS}"] * 2
        assert fake.metadata == {EPOCH: "1"}

    def test_a_worker_that_is_another_server(
        self, cloud: Cloud, fake: _Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _tell(tmp_path, monkeypatch, OTHER)
        monkeypatch.setattr(worker, "_DEVICE_SECONDS", 0.1)
        with pytest.raises(Invalid, match="is it really that server"):
            with worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 1)):
                pytest.fail("there is no disk")
        assert fake.holder is None
        assert worker.MARK not in fake.metadata


class TestOneAttempt:
    @pytest.mark.parametrize("where", [OURS, OTHER])
    def test_an_older_one_loses_it_wherever_it_has_it(
        self, cloud: Cloud, fake: _Fake, tmp_path: Path, where: str
    ) -> None:
        fake.holder, fake.metadata = where, {worker.MARK: f"{where} 1 a", EPOCH: "1"}
        with worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            assert fake.asked == [f"detach {where}", f"attach {OURS}"]

    @pytest.mark.parametrize("way", [worker.reading, worker.writing])
    def test_an_older_one_does_not_take_it_from_a_newer_one(
        self, cloud: Cloud, fake: _Fake, tmp_path: Path, way: Any
    ) -> None:
        fake.holder, fake.metadata = OTHER, {worker.MARK: f"{OTHER} 8 a", EPOCH: "8"}
        with pytest.raises(Conflict, match="newer attempt"), way(cloud, VOLUME, {}, attempt(tmp_path, 7)):
            pytest.fail("it was let in")
        assert (fake.holder, fake.asked) == (OTHER, [])

    def test_one_that_comes_back_after_a_newer_writer(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.metadata = {EPOCH: "8"}
        with pytest.raises(Conflict, match="newer attempt"), worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 7)):
            pytest.fail("it was let in")

    def test_one_that_slept_just_before_it_asked_nova(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        """A newer one came and went meanwhile."""

        def newer() -> None:
            fake.attaching = lambda: None
            with worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 8)):
                pass

        fake.attaching = newer
        with pytest.raises(Conflict, match="newer attempt"), worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 7)):
            pytest.fail("it was let in")
        assert fake.holder is None

    def test_one_that_slept_while_it_took_the_volume_from_an_older_one(
        self, cloud: Cloud, fake: _Fake, tmp_path: Path
    ) -> None:
        """A newer one came and went meanwhile, and its number is not taken back."""
        fake.holder, fake.metadata = OTHER, {worker.MARK: f"{OTHER} 6 a", EPOCH: "6"}

        def newer() -> None:
            fake.detaching = lambda: None
            with worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 8)):
                pass

        fake.detaching = newer
        with pytest.raises(Conflict, match="newer attempt"), worker.writing(cloud, VOLUME, {}, attempt(tmp_path, 7)):
            pytest.fail("it was let in")
        assert fake.metadata[EPOCH] == "8"

    def test_two_without_a_number(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        """What reads for other workers has none: the one that ends leaves the volume to the one that came."""
        with worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 0)):
            other = worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 0))
            other.__enter__()
        assert fake.holder == OURS
        assert worker.MARK in fake.metadata
        other.__exit__(None, None, None)
        assert fake.holder is None

    def test_a_volume_of_a_user_stays_with_his_server(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.holder = USERS
        with pytest.raises(Conflict, match=f"attached to server {USERS}"):
            with worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 1)):
                pytest.fail("it was let in")
        assert (fake.holder, fake.metadata, fake.asked) == (USERS, {}, [])


class TestNova:
    def test_does_something_else_with_the_server(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.holder, fake.metadata, fake.busy = OTHER, {worker.MARK: f"{OTHER} 1 a"}, 9
        with worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            assert fake.asked == [f"detach {OTHER}", f"attach {OURS}"]

    def test_attaches_what_a_killed_attempt_asked_for_late(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        def late() -> None:
            fake.attaching = lambda: None
            fake.holder = OURS

        fake.attaching = late
        with worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            assert fake.asked == [f"detach {OURS}", f"attach {OURS}"]

    def test_does_not_answer(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        """It may still do what it was asked: the mark stays, so that somebody takes the volume away."""

        def silence() -> None:
            raise SDKException("no answer")

        fake.attaching = silence
        with pytest.raises(Unavailable), worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            pytest.fail("it was let in")
        assert worker.MARK in fake.metadata

    def test_has_no_slot(self, cloud: Cloud, fake: _Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fake, "create_volume_attachment", lambda *_words, **_more: None)
        with pytest.raises(Unavailable, match="slot"), worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            pytest.fail("it was let in")

    def test_counts_disks(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        def full() -> None:
            raise ForbiddenException(
                "The maximum allowed number of disk devices (2) has been exceeded.", http_status=403
            )

        fake.attaching = full
        with pytest.raises(Unavailable, match="disk devices"), worker.reading(cloud, VOLUME, {}, attempt(tmp_path, 2)):
            pytest.fail("it was let in")


class TestForgetting:
    def test_what_a_killed_attempt_left(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.holder, fake.metadata = OTHER, {worker.MARK: f"{OTHER} 1 a", "kept": "x"}
        assert forget_marked(cloud, fake.get_volume(VOLUME), attempt(tmp_path, 2))
        assert fake.holder is None
        assert fake.metadata == {"kept": "x"}
        assert not forget_marked(cloud, fake.get_volume(VOLUME), attempt(tmp_path, 2))

    def test_a_volume_that_is_gone(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.gone = True
        worker.forget(cloud, VOLUME, attempt(tmp_path, 1))

    def test_a_server_that_does_not_let_go(self, cloud: Cloud, fake: _Fake, tmp_path: Path) -> None:
        fake.holder, fake.metadata, fake.stubborn = OTHER, {worker.MARK: f"{OTHER} 1 a"}, True
        with pytest.raises(Unavailable, match="LVM"):
            worker.forget(cloud, VOLUME, attempt(tmp_path, 2))
        assert worker.MARK in fake.metadata

    @given(st.text(max_size=60) | st.from_regex(rf"\A({OURS}|[^ ]*) [0-9]* [a-z]?\Z"))
    def test_what_users_may_have_written_there(self, told: str) -> None:
        """Nothing in it becomes a part of an address that is asked."""
        holder = worker._Holder.of(SimpleNamespace(metadata={worker.MARK: told}))
        assert holder is None or (is_id(holder.server) and told.startswith(f"{holder.server} "))

    def test_what_a_worker_has_written_there(self) -> None:
        written = worker._Holder(server=OURS, epoch=12, nonce="a")
        assert worker._Holder.of(SimpleNamespace(metadata={worker.MARK: str(written)})) == written
