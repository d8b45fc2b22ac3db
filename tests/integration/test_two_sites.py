# SPDX-License-Identifier: Apache-2.0
"""A migration between two sites of which no worker reaches both: its bytes pass a link between two workers."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import random
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.commands import bandwidth_budgets
from coriolis.commands.bandwidth_budgets import NewBudget
from coriolis.providers.contract.blocks import check_same
from coriolis.runtime import certificates
from coriolis.store import actions
from coriolis.worker.settings import LinkSettings
from tests.integration.house import MIB, House
from tests.integration.link_sides import side

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="needs qemu-utils"),
    pytest.mark.timeout(400),
]


def house_of(path: Path, *, authority: bool = True, link: LinkSettings | None = None) -> House:
    """Worker 1 stands in the north with the source, worker 2 in the south with the destination."""
    signer = None
    if authority:
        now = dt.datetime.now(dt.UTC)
        signer = certificates.create_authority(path / "ca.pem", path / "ca.key", now=now)
    return House(path, slots=4, regions=("north", "south"), link=link, authority=signer)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_of(tmp_path).running() as house:
        yield house


def fill(house: House, size_mib: int) -> bytes:
    data = random.Random(7).randbytes(size_mib * MIB // 2) + b"what compresses " * (size_mib * MIB // 32)
    house.source.write(house.source.add_instance("vm", disk_sizes=(size_mib * MIB,)), "disk-0", 0, data)
    return data


def run(house: House) -> str:
    """The id of a migration that has ended."""
    mapped = {side: [house.region(name)] for side, name in (("source", "north"), ("destination", "south"))}
    job = house.migrate("vm", mapped)
    ended = {"COMPLETED", "ERROR", "CANCELED"}
    house.until(lambda: house.db.read(actions.get, job, None).last_execution_status in ended, "its end")
    return job


def test_a_copy_between_sites_passes_a_link_of_two_certified_workers(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    data = fill(house, 64)
    job = run(house)
    row = house.db.read(actions.get, job, None)
    assert row.last_execution_status == "COMPLETED", row.message
    hosts = {name: host for name, host in house.hosts(job).items() if host is not None}
    assert hosts["copy.1/disk-0"] == hosts["volumes"] == "host-2"
    assert hosts["inspect"] == hosts["snapshot.1"] == "host-1"
    (copied,) = house.destination.read()["instances"]
    check_same(house.destination.disk_bytes(copied, "disk-0"), data)
    keys = list(house.path.glob("worker-*/link/*/key.pem"))
    assert len(keys) == 2
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    assert "in clear" not in caplog.text


def test_without_an_authority_nothing_moves_and_the_cure_is_told(tmp_path: Path) -> None:
    with house_of(tmp_path, authority=False).running() as house:
        fill(house, 4)
        row = house.db.read(actions.get, run(house), None)
        assert row.last_execution_status == "ERROR"
        assert "links create-authority" in (row.message or "")


def test_the_operators_own_certificates_need_no_authority_of_the_conductors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = side(tmp_path / "operator", "worker.example")
    link = LinkSettings(
        certificate_file=str(mine.certificate),
        key_file=str(mine.key),
        authority_file=str(mine.authority),
        name="worker.example",
    )
    with caplog.at_level(logging.WARNING), house_of(tmp_path, authority=False, link=link).running() as house:
        data = fill(house, 8)
        row = house.db.read(actions.get, run(house), None)
        assert row.last_execution_status == "COMPLETED", row.message
        (copied,) = house.destination.read()["instances"]
        check_same(house.destination.disk_bytes(copied, "disk-0"), data)
        assert not list(house.path.glob("worker-*/link"))
    assert "in clear" not in caplog.text


def test_clear_text_only_when_configured_and_then_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unsafe = house_of(tmp_path, authority=False, link=LinkSettings(clear=True))
    with caplog.at_level(logging.WARNING), unsafe.running() as house:
        fill(house, 4)
        assert house.db.read(actions.get, run(house), None).last_execution_status == "COMPLETED"
    assert caplog.text.count("disk bytes pass in clear") >= 2


def relays_of(worker_folder: Path) -> list[int]:
    """The relays that offer disks of this worker: their orders are in private folders, their parents in its forks."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"coriolis.dataplane.link" in words and str(worker_folder) in Path(words[-2].decode()).read_text():
                found.append(int(entry.name))
    return found


def test_an_export_that_dies_is_opened_again_and_the_copy_goes_on(house: House) -> None:
    data = fill(house, 48)
    mapped = {side: [house.region(name)] for side, name in (("source", "north"), ("destination", "south"))}
    target = {"source_region": mapped["source"][0], "destination_region": mapped["destination"][0]}
    wire = NewBudget(name="wire", scope="link", target=target, bytes_per_second=4 * MIB)
    budget = bandwidth_budgets.create(house.db, wire)
    job = house.migrate("vm", mapped)
    house.until(lambda: any(one.used > MIB for one in house.moving()), "bytes on the link, as slow as its budget")
    assert [one.granted for one in house.moving()] == [4 * MIB]
    # Of the two relays of the link, the one at the source has the certificate of worker 1.
    house.until(lambda: relays_of(house.path / "worker-1"), "the relay of the export")
    for pid in relays_of(house.path / "worker-1"):
        os.kill(pid, signal.SIGKILL)
    bandwidth_budgets.update(house.db, budget.id, {"enabled": False})
    ended = {"COMPLETED", "ERROR", "CANCELED"}
    house.until(lambda: house.db.read(actions.get, job, None).last_execution_status in ended, "its end")
    row = house.db.read(actions.get, job, None)
    assert row.last_execution_status == "COMPLETED", row.message
    (copied,) = house.destination.read()["instances"]
    check_same(house.destination.disk_bytes(copied, "disk-0"), data)
    copy = next(one for one in house.tasks(job) if one.name == "copy.1/disk-0")
    assert copy.epoch >= 2
