# SPDX-License-Identifier: Apache-2.0
"""The real ``coriolis-standalone`` as a process, driven by the real command line, against the fake cloud."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.providers.fake.cloud import Cloud
from tests.service.standalone_process import BIN, Standalone, running, wait_for

pytestmark = pytest.mark.timeout(240)

DATA = b"bytes to be proven" * 40_000
SECRET = "sesame-open-4711"


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)  # private or not: what is in it must be
    with running(state) as made:
        yield made


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[Cloud, Cloud]:
    source = Cloud.create(tmp_path / "source", token=SECRET)
    web = source.add_instance("web-1", disk_sizes=(3 << 20, 1 << 20))
    source.write(web, "disk-0", 4096, DATA)
    return source, Cloud.create(tmp_path / "destination")


def endpoints(standalone: Standalone, clouds: tuple[Cloud, Cloud], faults: str = "") -> None:
    """Two endpoints, "from" and "to", by the command line."""
    for name, cloud, info in (
        ("from", clouds[0], {"token": SECRET}),
        ("to", clouds[1], {"faults": faults} if faults else {}),
    ):
        file = standalone.state.parent / f"{name}.json"
        file.write_text(json.dumps({"path": str(cloud.path), **info}))
        standalone.cli(
            "endpoint", "create", "--name", name, "--type", "fake", "--connection-info", str(file), "-f", "json"
        )


MIGRATE = (
    "migration", "create", "--origin-endpoint", "from", "--destination-endpoint", "to",
    "--instance", "web-1", "--network", "net-a=net-b", "-f", "json",
)  # fmt: skip


def test_migrates_by_the_command_line(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds)
    assert {row["Name"] for row in standalone.cli("provider", "list", "-f", "json")} >= {"fake", "libvirt", "ova"}
    assert [row["Name"] for row in standalone.cli("endpoint", "instance", "list", "from", "-f", "json")] == ["web-1"]
    assert [row["Name"] for row in standalone.cli("endpoint", "network", "list", "to", "-f", "json")] == list(
        clouds[1].read()["networks"]
    )
    assert [row["Name"] for row in standalone.cli("endpoint", "storage", "list", "to", "-f", "json")] == list(
        clouds[1].read()["storage"]
    )
    assert standalone.cli("endpoint", "validate", "to") == "valid\n"
    done = standalone.cli(*MIGRATE, "--wait")
    assert done["status"] == "COMPLETED"
    for disk in done["transfer_result"]["web-1"]["integrity"]["disks"]:
        assert disk["source_digest"] == disk["target_digest"]
    assert standalone.cli("migration", "list", "-f", "json")[0]["Status"] == "COMPLETED"
    (new,) = clouds[1].read()["instances"]
    (old,) = clouds[0].read()["instances"]
    for disk_id in ("disk-0", "disk-1"):
        assert clouds[1].disk_bytes(new, disk_id) == clouds[0].disk_bytes(old, disk_id)
    standalone.cli("migration", "delete", done["id"])
    why = standalone.cli("migration", "show", done["id"], fails=True)
    assert why == f"There is no migration with the id '{done['id']}'.\n"


def test_goes_on_after_a_kill(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds, faults="write_blocks.open_sink@1=slow(30)")
    migration = standalone.cli(*MIGRATE)
    wait_for(lambda: copying(standalone, migration["id"]), 30)
    standalone.end(signal.SIGKILL)
    standalone.start()
    done = standalone.client.wait_for_migration(migration["id"], timeout=90)
    assert done.status == "COMPLETED"


def copying(standalone: Standalone, migration_id: str) -> bool:
    tasks = standalone.client.get_migration(migration_id).tasks
    return any(task["task_type"] == "REPLICATE_DISKS" and task["status"] == "RUNNING" for task in tasks)


def test_cancel_leaves_nothing(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds, faults="write_blocks.open_sink@*=hang")
    migration = standalone.cli(*MIGRATE)
    wait_for(lambda: copying(standalone, migration["id"]), 30)
    begun = time.monotonic()
    standalone.cli("migration", "cancel", migration["id"])
    done = standalone.client.wait_for_migration(migration["id"], timeout=60)
    assert done.status == "CANCELED"
    assert time.monotonic() - begun < 30
    assert clouds[0].leftovers() == clouds[1].leftovers() == []


def test_a_failure_tells_why_and_leaves_nothing(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds, faults="compute.create=invalid")
    why = standalone.cli(*MIGRATE, "--wait", fails=True)
    assert "ended ERROR" in why
    assert clouds[0].leftovers() == clouds[1].leftovers() == []


def test_is_private_and_alone(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds)
    private = {"token", "secrets.key", "standalone.json", "standalone.log"} | {
        file.name for file in standalone.state.glob("coriolis.sqlite*")
    }
    for name in private:
        assert (standalone.state / name).stat().st_mode & 0o077 == 0, name
    second = subprocess.run(
        [BIN / "coriolis-standalone", "--state-dir", standalone.state, "--port", "0"], capture_output=True, text=True
    )
    assert second.returncode == 1
    assert "Another standalone runs" in second.stderr
    for file in standalone.state.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in json.dumps(standalone.cli("endpoint", "show", "from", "-f", "json"))


def test_stops_gracefully_and_forgets_nothing(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    endpoints(standalone, clouds)
    children = {pid for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == str(standalone.running.pid)}
    assert standalone.end() == 0
    assert not (standalone.state / "standalone.json").exists()
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    standalone.start()
    assert {endpoint.name for endpoint in standalone.client.endpoints()} == {"from", "to"}


def parent(pid: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
    return None
