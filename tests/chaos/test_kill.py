# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of anything at a random moment of a real migration: OVA to libvirt, over RabbitMQ and MariaDB.

Each round is seeded by its number. Whatever is killed, the migration ends COMPLETED with equal bytes, or ERROR with
nothing left behind. ``CORIOLIS_CHAOS_ROUNDS`` sets the number of rounds (default 20).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from demo import ova
from tests.chaos.site import Site, await_answer, running
from tests.service.interruptions import MIB, await_copied, last_seen, tree

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("CORIOLIS_CHAOS_ROUNDS", "20"))
VICTIMS = ("child", "worker", "conductor", "scheduler", "api", "broker", "database")
DISKS_MIB = (768, 96)
# Odd rounds kill at any moment up to this one, a little more than an undisturbed migration takes. Even rounds kill
# while disks are copied, once so much is done that doing it again would be noticed.
LAST_MOMENT = 6.0
COPIED_MIB = (80, 400)
END_SECONDS = 240.0
REDONE_MIB = 64


@pytest.fixture(scope="module")
def disks() -> Iterator[list[Path]]:
    """Two raw disks: random bytes with holes in between."""
    folder = Path(tempfile.mkdtemp(prefix="cor-chaos-disks-"))
    made = []
    for number, size in enumerate(DISKS_MIB):
        source = random.Random(number)
        path = folder / f"disk{number}.raw"
        with path.open("wb") as file:
            for _ in range(size // 16):
                file.write(source.randbytes(12 * MIB))
                file.seek(4 * MIB, os.SEEK_CUR)
            file.truncate(size * MIB)
        made.append(path)
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def machine(disks: list[Path]) -> Path:
    path = disks[0].parent / "chaos.ova"
    ova.pack(path, ova.Machine(name="chaos"), disks)
    return path


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="cor-chaos-"))
    with running(directory) as made:
        yield made
    if not os.environ.get("CORIOLIS_CHAOS_KEEP"):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def endpoints(site: Site, machine: Path) -> tuple[str, str]:
    source = site.client.create_endpoint(name="ova", type="ova", connection_info={"path": str(machine)})
    target = site.client.create_endpoint(name="libvirt", type="libvirt", connection_info=site.libvirt.connection_info)
    for endpoint in (source, target):
        assert site.client.validate_endpoint(endpoint) == (True, None)
    return source.id, target.id


@pytest.mark.parametrize("number", range(ROUNDS))
def test_ends_well_whatever_is_killed(number: int, site: Site, endpoints: tuple[str, str], disks: list[Path]) -> None:
    seed = random.Random(number)
    victim = VICTIMS[number % len(VICTIMS)]
    migration_id = submit(site, endpoints)
    begun = time.monotonic()
    if number % 2:
        time.sleep(seed.uniform(0.0, LAST_MOMENT))
        before = last_seen(site.client, migration_id)
    else:
        before = await_copied(site.client, migration_id, seed.randint(*COPIED_MIB) * MIB)
    moment = time.monotonic() - begun
    attempts = len(site.attempts())
    killed = site.kill(victim)
    if victim != "child":
        time.sleep(seed.uniform(0.0, 3.0))
        site.start(victim)
    await_answer(site)
    migration = site.client.wait_for_migration(migration_id, timeout=END_SECONDS)
    seen = sum(before.values()) // MIB
    print(f"round {number}: {victim} killed={killed} after {moment:.1f} s, {seen} MiB seen, ended {migration.status}")
    try:
        if migration.status == "COMPLETED":
            check_bytes(site, migration, disks)
            if victim == "worker" or (victim == "child" and attempts == 1):
                check_little_was_redone(migration, before)
        else:
            assert migration.status == "ERROR", explain(site, migration)
            assert not domains(site), explain(site, migration)
            assert not volumes(site), explain(site, migration)
    finally:
        remove_result(site)
    assert not stray_processes(site)


def submit(site: Site, endpoints: tuple[str, str]) -> str:
    created: str = site.client.create_migration(
        origin_endpoint_id=endpoints[0],
        destination_endpoint_id=endpoints[1],
        instances=["chaos"],
        network_map={"VM Network": "user"},
        storage_mappings={"default": "default"},
    ).id
    return created


def check_bytes(site: Site, migration: Any, disks: list[Path]) -> None:
    (domain,) = domains(site)
    (result,) = migration.transfer_result.values()
    assert result["name"] == domain.name()
    targets = sorted(volumes(site))
    assert len(targets) == len(disks)
    for path in targets:
        size = virtual_size(path)
        (source,) = [disk for disk in disks if disk.stat().st_size == size]
        subprocess.run(["qemu-img", "compare", "-U", source, path], check=True, capture_output=True)


def virtual_size(path: Path) -> int:
    import json

    answer = subprocess.run(["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True)
    return int(json.loads(answer.stdout)["virtual-size"])


def check_little_was_redone(migration: Any, before: dict[str, int]) -> None:
    """What a killed copy had done is taken over from its journal, but for the last few MiB."""
    (result,) = migration.transfer_result.values()
    for disk in result["integrity"]["disks"]:
        done = before.get(disk["disk_id"], 0)
        assert disk["bytes_resumed"] >= done - REDONE_MIB * MIB, (disk, before)


def explain(site: Site, migration: Any) -> str:
    lines = [f"{e.level} {e.message}" for e in site.client.migration_events(migration)]
    return "\n".join([f"migration {migration.id} {migration.status}; logs in {site.directory}", *lines])


def domains(site: Site) -> list[Any]:
    return list(libvirt.open(site.libvirt.uri).listAllDomains())


def volumes(site: Site) -> list[Path]:
    return [path for path in site.libvirt.pool.iterdir() if path.is_file() and not path.name.startswith(".")]


def remove_result(site: Site) -> None:
    for domain in domains(site):
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    for path in site.libvirt.pool.iterdir():
        path.unlink()


def stray_processes(site: Site) -> list[str]:
    """Disk servers that outlived their attempt: those of qemu-nbd and its kin whose files are below the site."""
    end = time.monotonic() + 20
    while True:
        ours = set(tree(site.processes["worker"].pid))
        stray = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().decode(errors="replace").replace("\0", " ")
                if words.startswith(("qemu-nbd", "qemu-storage-daemon", "nbdkit")) and str(site.directory) in words:
                    pid = int(entry.parent.name)
                    stray += [] if pid in ours else [words]
        if not stray or time.monotonic() > end:
            return stray
        time.sleep(0.5)
