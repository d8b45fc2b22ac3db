# SPDX-License-Identifier: Apache-2.0
"""Two workers with a link between them, as far as the source of one copy goes: no conductor, no platform."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from coriolis.dataplane import NbdSource
from coriolis.domain.codec import from_json, to_json
from coriolis.providers.api import Context, Snapshot
from coriolis.rpc.messages import Assign, Attempt, Endpoint, Export, RemoteSource, SourceOpen, SourceOpened
from coriolis.worker import exporting
from coriolis.worker.effects import Ledger
from coriolis.worker.job import Job
from coriolis.worker.kinds import remote
from coriolis.worker.settings import LinkFiles, LinkSettings, WorkerSettings
from tests.integration.link_sides import DESTINATION, SOURCE, eavesdropper, side

ATTEMPT = Attempt(task_id="t", epoch=1, session_id="s")
PLAIN = WorkerSettings(host="h", state_path=Path("/nowhere"), link=LinkSettings(compression="off"))


@dataclass
class Sites:
    """A source of one worker, as another one gets it. ``release``: of the one that has it."""

    path: Path
    release: Literal["older", "same", "newer"] = "same"

    @contextlib.contextmanager
    def linked(self, source: NbdSource, passed: bytearray) -> Iterator[tuple[NbdSource, RemoteSource]]:
        """The source at the destination, and how the exporter offers it. ``passed``: bytes from there."""
        export = Export(
            task_id="t", epoch=1, item="disk-0", snapshot=None, source=Endpoint(type="x"), peer=DESTINATION
        )  # fmt: skip
        with (
            exporting.offered(source, export, self._files(SOURCE), PLAIN) as found,
            eavesdropper(found.port, passed) as port,
            remote.source(self._job(replace(found, port=port)), Snapshot(ref="s", instance_id="i", disks=())) as here,
        ):
            yield here, found

    def _job(self, found: RemoteSource) -> Job:
        said = to_json(SourceOpened(accepted=True, source=found))
        if self.release == "older":
            del said["source"]["lists"]
        if self.release == "newer":
            said["source"]["lists"] += 1

        def ask(question: Any) -> Any:
            assert isinstance(question, SourceOpen)
            return from_json(SourceOpened, json.loads(json.dumps(said)))

        def nowhere(_: Any) -> Any:
            raise AssertionError("this worker reaches neither platform")

        return Job(
            assign=Assign(
                attempt=ATTEMPT, execution_id="e", project_id="p", instance="i", kind="copy", name="copy",
                item="disk-0", apart=True,
            ),
            settings=PLAIN,
            context=Context(log=logging.getLogger("test"), scratch=self.path),
            ledger=Ledger(ATTEMPT, (), nowhere),
            connect=nowhere,
            checkpoint=nowhere,
            ask=ask,
            link=self._files(DESTINATION),
        )  # fmt: skip

    def _files(self, name: str) -> LinkFiles:
        mine = side(self.path / "certificates", name)
        return LinkFiles(name=name, certificate=mine.certificate, key=mine.key, authority=mine.authority)
