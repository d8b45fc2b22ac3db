# SPDX-License-Identifier: Apache-2.0
"""A house of real services: conductor, scheduler and store in this process, and two workers on two hosts, each with its
own fork server and copying processes. The clouds are fakes with real bytes behind real NBD servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from coriolis.commands import migrations
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor.service import ConductorService, ConductorSettings
from coriolis.providers.fake.cloud import Cloud
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime.certificates import Authority
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.scheduler.service import SchedulerService, SchedulerSettings
from coriolis.store import executions, regions, schema, streams, tasks
from coriolis.store.engine import Database
from coriolis.store.paging import Page
from coriolis.store.rows import Stream, Task
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import LinkSettings, VaultSettings, WorkerSettings

MIB = 1 << 20
PATIENCE = 120.0
CALLER = Caller(user_id="user", project_id="project", request_id="req-1")


class House:
    """Everything between the API and the platforms. ``regions``: of the first and of the second worker."""

    def __init__(
        self,
        path: Path,
        *,
        slots: int = 1,
        verify: str = "none",
        regions: Sequence[str] = (),
        link: LinkSettings | None = None,
        authority: Authority | None = None,
    ) -> None:
        self.path = path
        self.db = Database(f"sqlite:///{path}/engine.sqlite", synchronous="OFF")
        schema.upgrade(self.db)
        self.source, self.destination = Cloud.create(path / "source"), Cloud.create(path / "destination")
        keys = path / "keys"
        self.vault = Vault(create_keys(keys))
        bus = LocalBus()
        self.workers = [
            WorkerService(
                WorkerSettings(
                    host=f"host-{number}",
                    state_path=path / f"worker-{number}",
                    providers=("fake",),
                    slots=slots,
                    verify=verify,
                    regions=tuple(regions[number - 1 : number]),
                    link=link or LinkSettings(),
                ),
                bus,
                VaultSettings(key_file=str(keys)),
            )
            for number in (1, 2)
        ]
        settings = ConductorSettings(sync_seconds=5.0, poll_seconds=0.5)
        conductor = ConductorService(settings, self.db, bus, authority=authority)
        scheduler = SchedulerService(SchedulerSettings(poll_seconds=0.5), self.db, bus)
        self.services = (conductor, scheduler, *self.workers)

    @contextlib.contextmanager
    def running(self) -> Iterator[House]:
        for service in self.services:
            service.start()
        try:
            self.until(lambda: all(worker.session_id for worker in self.workers), "two sessions")
            yield self
        finally:
            for worker in self.workers:
                worker.stop(drain=False)
            for service in self.services[:2]:
                service.stop()

    def migrate(self, name: str, mapped: Mapping[str, Sequence[str]] | None = None) -> str:
        """The id of a new migration. ``mapped``: the regions of the endpoints, by side."""
        ends = [
            NewEndpoint(
                name=side,
                type="fake",
                sealed=self.vault.seal({"path": str(self.path / side)}),
                mapped_regions=tuple((mapped or {}).get(side, ())),
            )
            for side in ("source", "destination")
        ]
        spec = NewMigration(
            origin=ends[0],
            destination=ends[1],
            instances=(name,),
            network_map={"net-a": "net-b"},
            replication_count=1,
        )
        return migrations.create(self.db, CALLER, spec).id

    def region(self, name: str) -> str:
        """The id of a region that a worker has named."""
        return self.db.read(regions.named, [name])[name]

    def hosts(self, job: str) -> dict[str, str | None]:
        """Who ran each task of a migration."""
        return {row.name: row.host for row in self.tasks(job)}

    def tasks(self, job: str) -> list[Task]:
        run = self.db.read(executions.latest, [job])[job]
        return self.db.read(tasks.page, run.id, Page(), everything=True)

    def moving(self) -> list[Stream]:
        return self.db.read(streams.running)

    def until(self, condition: Callable[[], object], what: str) -> float:
        """Seconds until the condition held."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() < start + PATIENCE, f"in vain waited for: {what}"
            time.sleep(0.05)
        return time.monotonic() - start
