# SPDX-License-Identifier: Apache-2.0
"""Cancel, and ``kill -9``, in every task of a migration and of a transfer between two real clouds, just when a cloud
has done something that the worker has not heard of: both clouds are clean afterwards, and the source is as it was.

Tasks that ask no cloud are not here: ``DELETE_TRANSFER_TARGET_RESOURCES`` of a first execution has nothing to remove,
and ``CLONE_TRANSFER_DISKS`` nothing to copy, since Cinder makes a clone with its bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.integration.openstack_moments import Crossing, Job, Moment
from tests.lab import content
from tests.service.interruptions import MIB, await_copied

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.timeout(1800, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_ID = "[0-9a-f-]{36}"


def moment(task: str, cloud: str, service: str, method: str, path: str) -> Moment:
    return Moment(task=task, cloud=cloud, service=service, method=method, path=path)


ASKED = (
    moment("GET_INSTANCE_INFO", "old", "nova", "GET", f"/servers/{_ID}$"),
    moment("VALIDATE_MIGRATION_SOURCE_INPUTS", "old", "cinder", "GET", "/(limits|os-quota-sets)"),
    moment("VALIDATE_MIGRATION_DESTINATION_INPUTS", "new", "neutron", "GET", "/networks"),
)
SHUTDOWN = moment("SHUTDOWN_INSTANCE", "old", "nova", "POST", f"/servers/{_ID}/action$")
VOLUME = moment("CREATE_INSTANCE_DISKS", "new", "cinder", "POST", "/volumes$")
SERVER = moment("FINALIZE_INSTANCE_DEPLOYMENT", "new", "nova", "POST", "/servers$")
MADE = (
    VOLUME,
    moment("CREATE_INSTANCE_DISKS", "new", "cinder", "POST", "/attachments$"),
    moment("CREATE_INSTANCE_SNAPSHOT", "old", "cinder", "POST", "/snapshots$"),
    moment("CREATE_INSTANCE_SNAPSHOT", "old", "nova", "POST", f"/servers/{_ID}/action$"),
    moment("CREATE_INSTANCE_SNAPSHOT", "old", "cinder", "POST", "/volumes$"),
    moment("REPLICATE_DISKS", "old", "cinder", "POST", "/attachments$"),
    moment("REPLICATE_DISKS", "new", "cinder", "POST", "/attachments$"),
    moment("REPLICATE_DISKS", "old", "glance", "GET", "/file$"),
    moment("VERIFY_DISKS", "new", "cinder", "POST", "/attachments$"),
    moment("DEPLOY_INSTANCE_RESOURCES", "new", "neutron", "POST", "/ports$"),
    SERVER,
)
# Where a new life of the service finds the most, or the least, of what the one before had begun.
SERVICE = (SHUTDOWN, VOLUME, MADE[4], MADE[6], MADE[9], SERVER)
SECOND_ROUND = moment("CREATE_INSTANCE_SNAPSHOT", "old", "cinder", "DELETE", f"/volumes/{_ID}")
REMOVED = (
    moment("DELETE_INSTANCE_SNAPSHOT", "old", "glance", "DELETE", f"/images/{_ID}$"),
    moment("DELETE_INSTANCE_SNAPSHOT", "old", "cinder", "DELETE", f"/volumes/{_ID}"),
    moment("DELETE_INSTANCE_SNAPSHOT", "old", "cinder", "DELETE", f"/snapshots/{_ID}"),
)
UNDONE = (
    moment("STOP_DEPLOYED_INSTANCE", "new", "nova", "POST", f"/servers/{_ID}/action$"),
    moment("DELETE_DEPLOYED_INSTANCE", "new", "nova", "DELETE", f"/servers/{_ID}$"),
    moment("DELETE_DEPLOYED_INSTANCE", "new", "neutron", "DELETE", f"/ports/{_ID}$"),
    moment("DELETE_INSTANCE_TARGET_DISKS", "new", "cinder", "DELETE", f"/volumes/{_ID}"),
    moment("START_SOURCE_INSTANCE", "old", "nova", "POST", f"/servers/{_ID}/action$"),
)
MINION = (
    moment("REPLICATE_DISKS", "new", "neutron", "POST", "/security-groups$"),
    moment("REPLICATE_DISKS", "new", "nova", "POST", "/os-keypairs$"),
    moment("REPLICATE_DISKS", "new", "nova", "POST", "/servers$"),
    moment("REPLICATE_DISKS", "new", "nova", "POST", "/os-volume_attachments$"),
    moment("REPLICATE_DISKS", "old", "nova", "POST", "/os-volume_attachments$"),
)
IMAGE = (
    moment("CREATE_INSTANCE_SNAPSHOT", "old", "cinder", "POST", f"/volumes/{_ID}/action$"),
    moment("REPLICATE_DISKS", "new", "glance", "POST", "/images$"),
    moment("REPLICATE_DISKS", "new", "cinder", "POST", f"/volumes/{_ID}/action$"),
)
TRANSFER = (
    moment("DEPLOY_TRANSFER_DISKS", "new", "cinder", "POST", "/volumes$"),
    moment("DELETE_TRANSFER_SOURCE_RESOURCES", "old", "cinder", "DELETE", f"/volumes/{_ID}"),
)
DEPLOYMENT = (
    moment("VALIDATE_DEPLOYMENT_INPUTS", "new", "neutron", "GET", "/networks"),
    moment("CREATE_TRANSFER_DISK_CLONES", "new", "cinder", "POST", "/volumes$"),
    moment("DEPLOY_INSTANCE_RESOURCES", "new", "neutron", "POST", "/ports$"),
    SERVER,
)
PUT_IN_PLACE = (DEPLOYMENT[0], *DEPLOYMENT[2:])
GONE = (
    moment("DELETE_TRANSFER_SOURCE_DISK_SNAPSHOTS", "old", "cinder", "GET", "/snapshots/detail"),
    moment("DELETE_TRANSFER_DISKS", "new", "cinder", "DELETE", f"/volumes/{_ID}"),
)
_IN_A_MINION = {
    "minion_image": content.MINION_IMAGE,
    "minion_network": content.NETWORK,
    "minion_flavor": "lab.small",
}
# Without KVM, a minion's SSH gives some 2 MB/s: to read all of it back would take longer than tests wait.
_UNREAD = {"verification": "none"}
BY_MINION = {
    "source_environment": {"replica_export_mechanism": "minion", **_IN_A_MINION},
    "destination_environment": {
        "replica_import_mechanism": "minion",
        "zeroed_volume_types": ["fast"],
        **_IN_A_MINION,
        **_UNREAD,
    },
}
BY_IMAGE = {
    "source_environment": {"replica_export_mechanism": "image"},
    "destination_environment": {"replica_import_mechanism": "image"},
}


@pytest.fixture
def here(crossing: Crossing) -> Iterator[Crossing]:
    """The new project is empty before and after."""
    crossing.begin()
    yield crossing
    crossing.end()


def clean(here: Crossing, *, started_again: bool = False) -> None:
    assert here.new.ours() == []
    here.is_as_it_was(started_again=started_again)
    here.sound = True


def undone(here: Crossing, job: Job, *, started_again: bool = False) -> None:
    job.ends("CANCELED")
    clean(here, started_again=started_again)


def moved(here: Crossing, job: Job, *, stopped: bool = False) -> None:
    here.has_moved(job.ends("COMPLETED"))
    if stopped:
        assert here.old.ours() == []
        here.start_source()
    here.is_as_it_was()
    here.sound = True


def copying(here: Crossing) -> Job:
    """A migration that has copied some, and not all."""
    job = here.migrate()
    copied = await_copied(here.standalone.client, job.path.rpartition("/")[2], 8 * MIB)
    assert sum(copied.values()) >= 8 * MIB
    return job


def test_cancel_in_the_copy(here: Crossing) -> None:
    job = copying(here)
    job.cancel()
    undone(here, job)


def test_kill_in_the_copy(here: Crossing) -> None:
    job = copying(here)
    here.kill_worker()
    moved(here, job)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*ASKED, SHUTDOWN, *MADE, *REMOVED], ids=str)
def test_cancel_at(here: Crossing, moment: Moment) -> None:
    stops = moment is SHUTDOWN
    with here.at(moment, lambda: here.migrate(shutdown_instances=stops)) as job:
        job.cancel()
    undone(here, job, started_again=stops)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*ASKED, SHUTDOWN, *MADE, *REMOVED], ids=str)
def test_kill_at(here: Crossing, moment: Moment) -> None:
    stops = moment is SHUTDOWN
    with here.at(moment, lambda: here.migrate(shutdown_instances=stops)) as job:
        here.kill_worker()
    moved(here, job, stopped=stops)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [SHUTDOWN, *MADE], ids=str)
def test_kill_and_then_cancel_at(here: Crossing, moment: Moment) -> None:
    stops = moment is SHUTDOWN
    with here.at(moment, lambda: here.migrate(shutdown_instances=stops)) as job:
        here.kill_worker()
        job.cancel()
    undone(here, job, started_again=stops)


@pytest.mark.slow
@pytest.mark.parametrize("moment", SERVICE, ids=str)
def test_kill_of_the_service_at(here: Crossing, moment: Moment) -> None:
    stops = moment is SHUTDOWN
    with here.at(moment, lambda: here.migrate(shutdown_instances=stops)) as job:
        here.kill_service()
    moved(here, job, stopped=stops)


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
def test_in_the_second_round(here: Crossing, cancels: bool) -> None:
    with here.at(SECOND_ROUND, lambda: here.migrate(replication_count=2)) as job:
        interrupt(here, job, cancels)
    (undone if cancels else moved)(here, job)


def interrupt(here: Crossing, job: Job, cancels: bool) -> None:
    if cancels:
        job.cancel()
    else:
        here.kill_worker()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "service"), [*((one, False) for one in UNDONE), (UNDONE[1], True), (UNDONE[-1], True)], ids=str
)
def test_kill_while_it_is_undone_at(here: Crossing, moment: Moment, service: bool) -> None:
    """The latest that a migration can be cancelled, with all that there is to undo."""
    with contextlib.ExitStack() as stack:
        with here.at(SERVER, lambda: here.migrate(shutdown_instances=True)) as job:
            began: Future[Job] = Future()
            began.set_result(job)
            reached = stack.enter_context(here.held(moment, began))
            job.cancel()
        reached()
        if service:
            here.kill_service()
        else:
            here.kill_worker()
    undone(here, job, started_again=True)


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True], ids=["cancel", "force"])
def test_cancel_while_cinder_does_not_answer(here: Crossing, force: bool) -> None:
    with here.at(VOLUME, here.migrate) as job:
        job.cancel(force=force)
        job.ends("CANCELED")
    undone(here, job)


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
@pytest.mark.parametrize("moment", MINION, ids=str)
def test_through_minions_at(here: Crossing, moment: Moment, cancels: bool) -> None:
    with here.at(moment, lambda: here.migrate(**BY_MINION)) as job:
        interrupt(here, job, cancels)
    (undone if cancels else moved)(here, job)


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
@pytest.mark.parametrize("moment", IMAGE, ids=str)
def test_through_images_at(here: Crossing, moment: Moment, cancels: bool) -> None:
    with here.at(moment, lambda: here.migrate(**BY_IMAGE)) as job:
        interrupt(here, job, cancels)
    (undone if cancels else moved)(here, job)


# ---- transfers


def without_disks(here: Crossing, transfer: str) -> None:
    """The end of a transfer, whatever became of it before."""
    here.delete_disks(transfer).ends("COMPLETED")
    clean(here)


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
@pytest.mark.parametrize("moment", TRANSFER, ids=str)
def test_execution_at(here: Crossing, moment: Moment, cancels: bool) -> None:
    transfer = here.transfer()
    with here.at(moment, lambda: here.execute(transfer)) as job:
        interrupt(here, job, cancels)
    job.ends("CANCELED" if cancels else "COMPLETED")
    assert here.old.ours() == []
    if cancels and moment.task == "DEPLOY_TRANSFER_DISKS":
        clean(here)  # there is no replica yet
        return
    assert here.new.ours() == ["volume", "volume"]
    without_disks(here, transfer)


class TestDeployment:
    @pytest.fixture(scope="class")
    @classmethod
    def replica(cls, crossing: Crossing) -> Iterator[str]:
        """A transfer that has been executed."""
        crossing.begin()
        made = crossing.transfer()
        crossing.execute(made).ends("COMPLETED")
        assert crossing.old.ours() == []
        assert crossing.new.ours() == ["volume", "volume"]
        crossing.sound = True
        yield made
        crossing.begin()
        without_disks(crossing, made)

    @pytest.mark.slow
    @pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
    @pytest.mark.parametrize("moment", DEPLOYMENT, ids=str)
    def test_at(self, crossing: Crossing, replica: str, moment: Moment, cancels: bool) -> None:
        here = crossing
        here.begin()
        kept = {volume.id for volume in here.new.sdk.block_storage.volumes()}
        with here.at(moment, lambda: here.deploy(replica, clone=True)) as job:
            interrupt(here, job, cancels)
        if cancels:
            job.ends("CANCELED")
            assert here.new.ours() == ["volume", "volume"]
        else:
            here.has_moved(job.ends("COMPLETED"), beside=["volume", "volume"])
            remove_deployed(here, kept)
        here.is_as_it_was()
        here.sound = True


def remove_deployed(here: Crossing, kept: set[str]) -> None:
    sdk: Any = here.new.sdk
    for server in list(sdk.compute.servers()):
        sdk.compute.delete_server(server)
        sdk.compute.wait_for_delete(server, wait=600)
    for volume in list(sdk.block_storage.volumes()):
        if volume.id not in kept:
            sdk.block_storage.delete_volume(volume)
            sdk.block_storage.wait_for_delete(volume, wait=600)
    for port in list(sdk.network.ports(network_id=here.new.network.id)):
        if not port.device_owner.startswith("network:"):
            sdk.network.delete_port(port, ignore_missing=True)
    assert here.new.ours() == ["volume", "volume"]


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False], ids=["cancel", "kill"])
@pytest.mark.parametrize("moment", PUT_IN_PLACE, ids=str)
def test_deployment_in_place_at(here: Crossing, moment: Moment, cancels: bool) -> None:
    """A replica that was not handed over can be deployed later, when no machine can have written to it or it was
    copied anew."""
    transfer = here.transfer()
    here.execute(transfer).ends("COMPLETED")
    volumes = {volume.id for volume in here.new.sdk.block_storage.volumes()}
    with here.at(moment, lambda: here.deploy(transfer, clone=False)) as job:
        interrupt(here, job, cancels)
    if cancels:
        job.ends("CANCELED")
        assert here.new.ours() == ["volume", "volume"]
        here.is_as_it_was()
        if moment is SERVER:
            with pytest.raises(AssertionError, match="a machine was started on them"):
                here.deploy(transfer, clone=False)
            here.execute(transfer).ends("COMPLETED")
        job = here.deploy(transfer, clone=False)
    here.has_moved(job.ends("COMPLETED"))
    assert {volume.id for volume in here.new.sdk.block_storage.volumes()} == volumes
    here.is_as_it_was()
    here.sound = True


@pytest.mark.slow
@pytest.mark.parametrize("moment", GONE, ids=str)
def test_removal_of_a_replica_at(here: Crossing, moment: Moment) -> None:
    transfer = here.transfer()
    here.execute(transfer).ends("COMPLETED")
    with here.at(moment, lambda: here.delete_disks(transfer)) as job:
        here.kill_worker()
    job.ends("COMPLETED")
    clean(here)


def test_what_is_left_of_a_migration_is_told(here: Crossing) -> None:
    """The checker can fail."""
    assert here.new.ours() == []
    mark = {"coriolis_key": "coriolis-left"}
    left = here.new.sdk.block_storage.create_volume(name="left", size=1, metadata=mark)
    here.new.sdk.block_storage.wait_for_status(left, "available", ["error"], interval=1, wait=600)
    attachment = here.new.sdk.block_storage.create_attachment(left.id, connector={"host": "here"})
    here.new.sdk.compute.create_keypair(name="coriolis-left")
    with here.new.cloud.connect() as admin:
        flavor = admin.compute.create_flavor(
            name=f"left-{attachment.id}", ram=64, vcpus=1, disk=0, is_public=False, description=mark["coriolis_key"]
        )
        try:
            assert here.new.ours() == ["attachment", "flavor", "keypair", "volume"]
            admin.compute.flavor_add_tenant_access(flavor, here.new.sdk.current_project_id)
            assert here.new.ours() == ["attachment", "flavor", "keypair", "volume"]
        finally:
            admin.compute.delete_flavor(flavor)
            here.new.sdk.compute.delete_keypair("coriolis-left")
            here.new.sdk.block_storage.delete_attachment(attachment.id)
    assert here.new.ours() == ["volume"]
    here.sound = True
