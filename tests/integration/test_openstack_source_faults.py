# SPDX-License-Identifier: Apache-2.0
"""Servers on their way out of a real cloud in which something fails: what can be mended by trying again is, what cannot
is told in words that name the thing. Nothing of ours is left, and the source is as it was."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.fake.cloud import Cloud as FakeCloud
from coriolis.providers.openstack.nfs_access import SHARES
from tests.integration.openstack_moments import NAME, Crossing, Job
from tests.integration.openstack_site import PATIENCE
from tests.lab.faults import Fault
from tests.service.standalone_process import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MIB = 1 << 20
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TOKEN_SECONDS = 60  # more than a request may wait on a busy machine
SNAPSHOT, VOLUME, IMAGE = ("cinder", "/snapshots$"), ("cinder", "/volumes$"), ("nova", f"/servers/{UUID}/action$")
LOST: dict[str, Any] = {"lose_answer": True}
THRICE: dict[str, Any] = {"times": 3, "status": 500}
EVER: dict[str, Any] = {"times": 1 << 30, "status": 500}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exit:
    """The old cloud, seen through proxies, and a destination where nothing has to boot."""

    crossing: Crossing
    there: FakeCloud

    def fault(self, service: str, path: str, method: str = "POST", **how: Any) -> Fault:
        return self.crossing.proxies["old"][service].add(method, path, **how)

    def leave(self, *, origin: str | None = None, **environment: Any) -> Job:
        desk = self.crossing.desk
        path = desk.submit(
            "migration",
            origin or self.crossing.origin,
            desk.endpoint("fake", {"path": str(self.there.path)}),
            NAME,
            network_map={"site": "net-a"},
            replication_count=1,
            source_environment=environment,
        )
        return Job(desk=desk, path=path, noun="migration")

    def left(self, job: Job) -> None:
        done = job.ends("COMPLETED")
        disks = done["transfer_result"][NAME]["integrity"]["disks"]
        assert len(disks) == 2
        for disk in disks:
            assert disk["source_digest"] == disk["target_digest"]
        self._is_clean()

    def failed(self, job: Job) -> str:
        """What the user is told of it."""
        told = str(job.ends("ERROR")["message"])
        assert self.there.leftovers() == []
        self._is_clean()
        return told

    def _is_clean(self) -> None:
        self.crossing.is_as_it_was()
        self.crossing.sound = True


@pytest.fixture
def gate(crossing: Crossing, tmp_path: Path) -> Iterator[Exit]:
    """Without faults, before and after."""
    crossing.begin()
    yield Exit(crossing=crossing, there=FakeCloud.create(tmp_path / "there"))
    for proxy in crossing.proxies["old"].values():
        proxy.clear()


# ---- what services answer


OVERCOME: Mapping[str, tuple[tuple[str, str, str, Mapping[str, Any]], ...]] = {
    "answers-are-lost": tuple((service, path, "POST", LOST) for service, path in (SNAPSHOT, VOLUME, IMAGE)),
    "Cinder-fails-thrice-at-a-snapshot": ((*SNAPSHOT, "POST", THRICE),),
    "Cinder-fails-thrice-at-the-volume-of-a-snapshot": ((*VOLUME, "POST", THRICE),),
    "Nova-fails-thrice-at-the-image": ((*IMAGE, "POST", THRICE),),
    "the-token-is-refused-in-the-midst-of-a-read": (
        ("glance", "/file$", "GET", {"cut_after": 5 * MIB}),
        ("glance", "/file$", "GET", {"status": 401}),
        ("cinder", f"/attachments/{UUID}$", "DELETE", {"status": 401}),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("faults", OVERCOME.values(), ids=OVERCOME.keys())
def test_a_fault_is_overcome(gate: Exit, faults: tuple[tuple[str, str, str, Mapping[str, Any]], ...]) -> None:
    waiting = [gate.fault(service, path, method, **how) for service, path, method, how in faults]
    gate.left(gate.leave())
    assert [fault.met for fault in waiting] == [fault.times for fault in waiting]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_to", "said"),
    [
        pytest.param(SNAPSHOT, f"snapshot of volume {UUID}: .*HTTP 500 of http://\\S+/snapshots", id="snapshot"),
        pytest.param(VOLUME, f"volume of snapshot {UUID}: .*HTTP 500 of http://\\S+/volumes", id="volume"),
        pytest.param(IMAGE, f"snapshot of server {NAME}: .*HTTP 500 of http://\\S+/action", id="image"),
    ],
)
def test_a_service_that_fails_for_ever_is_told(gate: Exit, request_to: tuple[str, str], said: str) -> None:
    fault = gate.fault(*request_to, **EVER)
    told = gate.failed(gate.leave())
    assert re.search(said, told), told
    assert fault.met > 0


# ---- what comes of what was asked for


def _snapshot(here: Crossing) -> Any:
    (found,) = here.old.sdk.block_storage.snapshots()
    return found


def _copy(here: Crossing) -> Any:
    (found,) = (one for one in here.old.sdk.block_storage.volumes() if one.id != here.data.id)
    return found


def _reset(here: Crossing, find: Callable[[Crossing], Any], status: str) -> None:
    """By the admin, when Cinder has done with it."""
    wait_for(lambda: find(here).status == "available", PATIENCE)
    kind = "snapshot" if find is _snapshot else "volume"
    with here.old.cloud.connect() as admin:
        getattr(admin.block_storage, f"reset_{kind}_status")(find(here).id, status)


def _break_snapshot(here: Crossing) -> None:
    _reset(here, _snapshot, "error")


def _break_volume(here: Crossing) -> None:
    _reset(here, _copy, "error")


def _delete_image(here: Crossing) -> None:
    image = here.old.sdk.image
    (found,) = image.images(owner=here.old.sdk.current_project_id)
    image.delete_image(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "spoil", "said"),
    [
        pytest.param(
            SNAPSHOT, _break_snapshot, f"snapshot {UUID} of volume {UUID} ended in status error", id="snapshot"
        ),
        pytest.param(
            VOLUME,
            _break_volume,
            f"volume {UUID}, which is made of snapshot {UUID} to be read, ended in status error",
            id="volume",
        ),
        pytest.param(IMAGE, _delete_image, f"image {UUID} of {NAME} disappeared while it was made", id="image"),
    ],
)
def test_what_goes_wrong_after_the_answer_is_told(
    gate: Exit, asked: tuple[str, str], spoil: Callable[[Crossing], None], said: str
) -> None:
    fault = gate.fault(*asked, hold_answer=True)
    job = gate.leave()
    wait_for(fault.reached.is_set, PATIENCE)
    spoil(gate.crossing)
    fault.released.set()
    told = gate.failed(job)
    assert re.search(said, told), told


@pytest.mark.slow
def test_a_volume_that_is_made_late_is_overcome(gate: Exit) -> None:
    """It is removed as soon as Cinder lets it be, and another one made."""
    fault = gate.fault(*VOLUME, hold_answer=True)
    job = gate.leave(volume_seconds=30)
    wait_for(fault.reached.is_set, PATIENCE)
    _reset(gate.crossing, _copy, "creating")
    late = _copy(gate.crossing)
    fault.released.set()

    def waited() -> bool:
        return any("still creating" in line for line in job.desk.story(job.look()))

    wait_for(waited, PATIENCE)
    with gate.crossing.old.cloud.connect() as admin:
        admin.block_storage.reset_volume_status(late.id, "available")
    gate.left(job)


@pytest.mark.slow
def test_an_image_that_never_gets_ready_is_told(gate: Exit) -> None:
    told = gate.failed(gate.leave(image_seconds=1))
    assert re.search(f"image {UUID} of {NAME} did not become active within 1 s; it is still \\w", told), told


# ---- tokens


@pytest.mark.slow
def test_a_read_goes_on_when_its_token_has_ended(gate: Exit, free_port: Callable[[], int], tmp_path: Path) -> None:
    here, shares = gate.crossing, Path(os.environ[SHARES])
    old, glance, allowed = here.old, here.proxies["old"]["glance"], shares.read_text()
    with old.cloud.cloud.keystone_beside(TOKEN_SECONDS, free_port(), tmp_path) as auth_url:
        shares.write_text(allowed + allowed.replace("[", "[short-").replace(old.info["auth_url"], auth_url))
        origin = here.desk.endpoint("openstack", {**here.origin_info, "auth_url": auth_url})
        try:
            cut = gate.fault("glance", "/file$", "GET", hold_answer=True, cut_after=5 * MIB)
            job = gate.leave(origin=origin)
            wait_for(cut.reached.is_set, PATIENCE)
            sent, token = len(glance.seen), glance.seen[-1].token
            with old.cloud.connect() as admin:
                wait_for(lambda: not _is_valid(admin.identity, token), PATIENCE)
            cut.released.set()
            gate.left(job)
        finally:
            shares.write_text(allowed)
    again = [one for one in glance.seen[sent:] if one.method == "GET" and one.token != token]
    assert again
    assert again[0].status in (200, 206)


def _is_valid(keystone: Any, token: str) -> bool:
    answer = keystone.get("/auth/tokens", headers={"X-Subject-Token": token})
    assert answer.status_code in (200, 404)
    return bool(answer.status_code == 200)
