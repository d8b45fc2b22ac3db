# SPDX-License-Identifier: Apache-2.0
"""A server of the old cloud on its way to the new one, and moments at which its job can be interrupted.

A moment is an answer of a cloud to a request of a task. A proxy holds it: the cloud has done what it was asked, and the
worker does not know. Nothing could be worse to interrupt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from coriolis.providers.openstack.nfs_access import SHARES
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of, scratch_file, shares
from tests.lab.faults import Proxy, proxied
from tests.lab.fixtures import LabCloud
from tests.lab.leftovers import census
from tests.service.interruptions import ENDED, MIB, kill_attempts
from tests.service.standalone_process import Standalone, running, wait_for

NAME = "crosser"
PROXIED = ("nova", "cinder", "glance", "neutron")
# No two networks of this machine may have one range: it has routes to the guests of both. Who starts these tests twice
# at once, on the same clouds, gives the second run another lane.
_LANE = int(os.environ.get("CORIOLIS_LANE", "0"))
_OLD, _NEW = 61 + 2 * _LANE, 62 + 2 * _LANE
OLD_RANGE, ADDRESS, MAC = f"10.88.{_OLD}.0/24", f"10.88.{_OLD}.42", f"fa:16:3e:88:{_OLD}:42"
NEW_RANGE = f"10.88.{_NEW}.0/24"
ONE_OF_EACH = ["port", "server", "volume", "volume"]
# So slow that a copy of the guest's 70 MiB can be interrupted; what may have been made in a killed attempt is looked
# for after seconds, for no request is on its way for longer here.
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "worker": {"copy_source_filters": f"rate:bytes_per_second={16 * MIB}"},
    "engine": {"quarantine_seconds": 5},
}
_DATA_MIB = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """The answer to the first such request of ``task``. ``path``: regular expression."""

    task: str
    cloud: str  # old or new
    service: str
    method: str
    path: str

    def __str__(self) -> str:
        words = "-".join(word for word in self.path.strip("$").split("/") if re.fullmatch("[a-z_-]+", word))
        return f"{self.task}-{self.cloud}-{self.method}-{words}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A migration, execution or deployment."""

    desk: Desk
    path: str
    noun: str

    def look(self) -> dict[str, Any]:
        return dict(self.desk.ask("GET", self.path)[self.noun])

    def running(self) -> set[str]:
        """Types of the tasks that run now."""
        return {task["task_type"] for task in self.look()["tasks"] if task["status"] == "RUNNING"}

    def over(self) -> bool:
        return self.status(self.look()) in ENDED

    def status(self, found: dict[str, Any]) -> str:
        return str(found["status" if self.noun == "execution" else "last_execution_status"])

    def cancel(self, *, force: bool = False) -> None:
        self.desk.ask("POST", f"{self.path}/actions", {"cancel": {"force": force}})

    def ends(self, status: str) -> dict[str, Any]:
        """How it ended, which has to be so."""
        done = self.desk.ended(self.path, self.noun)
        assert self.status(done) == status, self.desk.story(done)
        return done


@dataclasses.dataclass(kw_only=True)
class Crossing:
    """``server`` runs in the old cloud: its root disk came from an image, and it has a data volume. It goes by proxies,
    as a plain member of a project on both sides. ``boots``: how often it has come up. ``moves``: how
    often it has arrived. ``sound``: no test has failed in the midst of a job."""

    standalone: Standalone
    desk: Desk
    old: Member
    new: Member
    proxies: Mapping[str, Mapping[str, Proxy]]  # cloud, service
    origin: str
    target: str
    server: Any
    data: Any
    boots: int = 1
    moves: int = 0
    sound: bool = True

    @property
    def origin_info(self) -> dict[str, Any]:
        """Connection info of ``origin``."""
        return _proxied(self.old)

    # ---- jobs

    def migrate(self, **more: Any) -> Job:
        path = self._submitted("migration", {"replication_count": 1, **more})
        return Job(desk=self.desk, path=path, noun="migration")

    def transfer(self, **more: Any) -> str:
        """The path of a new transfer."""
        return self._submitted("transfer", more)

    def _submitted(self, noun: str, more: Mapping[str, Any]) -> str:
        order = {"network_map": {"site": "site"}, "storage_mappings": {"default": "fast"}, **more}
        return self.desk.submit(noun, self.origin, self.target, NAME, **order)

    def execute(self, transfer: str) -> Job:
        made = self.desk.ask("POST", f"{transfer}/executions", {"execution": {}})["execution"]
        return Job(desk=self.desk, path=f"{transfer}/executions/{made['id']}", noun="execution")

    def deploy(self, transfer: str, *, clone: bool) -> Job:
        body = {"transfer_id": transfer.rpartition("/")[2], "clone_disks": clone}
        made = self.desk.ask("POST", "/deployments", {"deployment": body})["deployment"]
        return Job(desk=self.desk, path=f"/deployments/{made['id']}", noun="deployment")

    def delete_disks(self, transfer: str) -> Job:
        made = self.desk.ask("POST", f"{transfer}/actions", {"delete-disks": None})["execution"]
        return Job(desk=self.desk, path=f"{transfer}/executions/{made['id']}", noun="execution")

    # ---- moments

    @contextlib.contextmanager
    def at(self, moment: Moment, begin: Callable[[], Job]) -> Iterator[Job]:
        """Begins a job; within the block, the answer is held."""
        job: Future[Job] = Future()
        with self.held(moment, job) as reached:
            try:
                job.set_result(begin())
            except BaseException as error:
                job.set_exception(error)
                raise
            reached()
            yield job.result()

    @contextlib.contextmanager
    def held(self, moment: Moment, job: Future[Job]) -> Iterator[Callable[[], None]]:
        """Gives what waits until the answer is held; it goes on when the block ends."""
        fault = self.proxies[moment.cloud][moment.service].add(
            moment.method,
            moment.path,
            hold_answer=True,
            when=lambda: moment.task in job.result(PATIENCE).running(),
        )

        def reached() -> None:
            wait_for(lambda: fault.reached.is_set() or job.result().over(), PATIENCE)
            assert fault.reached.is_set(), [f"{moment} never came", *self.desk.story(job.result().look())]

        try:
            yield reached
        finally:
            fault.times = 0
            fault.released.set()

    def kill_worker(self) -> None:
        """``kill -9`` of every attempt that runs."""
        assert kill_attempts(self.standalone.running.pid) > 0

    def kill_service(self) -> None:
        """``kill -9`` of the whole service, which is started again on its state."""
        self.standalone.end(signal.SIGKILL)
        self.standalone.start()

    # ---- afterwards

    def has_moved(self, done: dict[str, Any], *, beside: list[str] | None = None) -> None:
        """The new server has the bytes and has come up. Nothing else is left. ``beside``: but for these of ours."""
        ((_name, result),) = (done["transfer_result"] or {}).items()
        disks = result["integrity"]["disks"]
        assert len(disks) == 2
        for disk in disks:
            assert disk["target_digest"] == (None if disk["verification"] == "none" else disk["source_digest"])
        self.new.until_said(self.new.server(NAME), f"coriolis-guest: boot {self.boots + 1}", "coriolis-guest: ready")
        assert self.new.ours() == sorted([*ONE_OF_EACH, *(beside or [])])
        self.moves += 1

    def is_as_it_was(self, *, started_again: bool = False) -> None:
        """The source runs, or runs again, with what it had; nothing of ours is in its cloud."""
        assert self.old.ours() == []
        self.boots += started_again
        # Nova may still be at a snapshot whose image is gone: it gives that up by itself.
        wait_for(lambda: self.old.server(NAME).task_state is None, PATIENCE)
        server = self.old.server(NAME)
        assert server.status == "ACTIVE"
        assert [one.id for one in server.attached_volumes] == [self.data.id]
        storage = self.old.sdk.block_storage
        assert [(one.id, one.status) for one in storage.volumes()] == [(self.data.id, "in-use")]
        assert list(storage.snapshots()) == []
        assert list(self.old.sdk.image.images(owner=self.old.sdk.current_project_id)) == []
        said = self.old.until_said(server, f"coriolis-guest: boot {self.boots}", "coriolis-guest: ready")
        assert f"coriolis-guest: boot {self.boots + 1}" not in said
        answers()

    def start_source(self) -> None:
        """After a migration that shut it down."""
        server = self.old.server(NAME)
        assert server.status == "SHUTOFF"
        self.old.sdk.compute.start_server(server)
        self.old.sdk.compute.wait_for_server(server, wait=PATIENCE)
        self.boots += 1
        self.old.until_said(server, f"coriolis-guest: boot {self.boots}", "coriolis-guest: ready")

    # ---- between tests

    def begin(self) -> None:
        """After a test that failed: with what it left. Kept up to date by `end`."""
        if self.standalone.process is None or self.standalone.process.poll() is not None:
            self.standalone.start()
        if not self.sound:
            for member in (self.old, self.new):
                member.before = census(member.cloud, member.owner)
        self.sound = False

    def end(self) -> None:
        self.new.clear()


def answers() -> None:
    """Returns when the source's guest answers from its disk, which it does as long as it runs."""
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def asked() -> bytes:
        with contextlib.suppress(OSError), ask.open(f"http://{ADDRESS}/SHA256SUMS", timeout=20) as answer:
            return bytes(answer.read())
        return b""

    assert wait_for(asked, PATIENCE)


@contextlib.contextmanager
def between(old_cloud: LabCloud, new_cloud: LabCloud, folder: Path) -> Iterator[Crossing]:
    """With a service of its own, whose state is below ``folder``."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        environment = {SHARES: str(scratch_file(folder, shares([old_cloud, new_cloud]))), "no_proxy": "*"}
        stack.enter_context(_environment(environment))
        old = stack.enter_context(member_of(old_cloud, OLD_RANGE))
        new = stack.enter_context(member_of(new_cloud, NEW_RANGE))
        standalone = stack.enter_context(running(state, OPTIONS))
        desk = Desk(standalone)
        proxies, ends = {}, []
        for name, member in (("old", old), ("new", new)):
            info = _proxied(member)
            proxies[name] = stack.enter_context(proxied(member.cloud, *PROXIED, region=info["region_name"]))
            ends.append(desk.endpoint("openstack", info))
        server = old.boot(NAME, ADDRESS, MAC)
        data = _data(old)
        old.sdk.compute.create_volume_attachment(server, volume_id=data.id)
        old.until_said(server, "coriolis-guest: ready")
        answers()
        made = Crossing(
            standalone=standalone,
            desk=desk,
            old=old,
            new=new,
            proxies=proxies,
            origin=ends[0],
            target=ends[1],
            server=server,
            data=data,
        )
        yield made


def _proxied(member: Member) -> dict[str, Any]:
    return {**member.info, "region_name": f"{member.info['username']}-moments"}


def _data(member: Member) -> Any:
    """A volume of random bytes, which a few of them are enough for."""
    path = f"{NAME}-data"
    image = member.sdk.image.create_image(
        name=path, data=os.urandom(_DATA_MIB * MIB), disk_format="raw", container_format="bare"
    )
    deadline = time.monotonic() + PATIENCE
    while member.sdk.image.get_image(image.id).status != "active":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    try:
        return member.volume(f"{NAME}-data", "fast", image.name)
    finally:
        member.sdk.image.delete_image(image)


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
