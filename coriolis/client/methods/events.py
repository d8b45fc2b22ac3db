# SPDX-License-Identifier: Apache-2.0
"""What happened in a job or in an execution: as a list, and as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.deployment import Deployment, DeploymentEvent
from coriolis.client.job import FINAL, Event, id_of
from coriolis.client.methods.waiting import patiently
from coriolis.client.migration import Migration, MigrationEvent
from coriolis.client.transfer import Transfer, TransferExecution, TransferExecutionEvent

POLL_SECONDS = 25.0  # how long the service may hold an answer back while nothing happens

AnEvent = TypeVar("AnEvent", bound=Event)


class EventMethods(sdk_proxy.Proxy):
    """Lists are oldest first. A ``follow`` gives events as they happen and ends when the run is over.

    ``since`` is the id of an event: those after it.
    """

    def migration_events(self, migration: str | Migration, **query: Any) -> Iterator[MigrationEvent]:
        return self._list(MigrationEvent, migration_id=id_of(migration), **query)

    def deployment_events(self, deployment: str | Deployment, **query: Any) -> Iterator[DeploymentEvent]:
        return self._list(DeploymentEvent, deployment_id=id_of(deployment), **query)

    def transfer_execution_events(
        self, transfer: str | Transfer, execution: str | TransferExecution, **query: Any
    ) -> Iterator[TransferExecutionEvent]:
        ids: dict[str, Any] = {"transfer_id": id_of(transfer), "execution_id": id_of(execution)}
        return self._list(TransferExecutionEvent, **ids, **query)

    def follow_migration_events(self, migration: str | Migration, since: int | str = 0) -> Iterator[MigrationEvent]:
        return self._follow(MigrationEvent, {"migration_id": id_of(migration)}, since)

    def follow_deployment_events(self, deployment: str | Deployment, since: int | str = 0) -> Iterator[DeploymentEvent]:
        return self._follow(DeploymentEvent, {"deployment_id": id_of(deployment)}, since)

    def follow_transfer_execution_events(
        self, transfer: str | Transfer, execution: str | TransferExecution, since: int | str = 0
    ) -> Iterator[TransferExecutionEvent]:
        ids = {"transfer_id": id_of(transfer), "execution_id": id_of(execution)}
        return self._follow(TransferExecutionEvent, ids, since)

    def _follow(self, kind: type[AnEvent], ids: dict[str, Any], since: int | str) -> Iterator[AnEvent]:
        """By long polls, so that nothing is asked while nothing happens."""
        while True:
            answer = patiently(partial(self._news, kind.base_path % ids, since))
            for event in answer["events"]:
                yield kind.existing(**ids, **event)
            since = answer["since"]
            if not answer["events"] and answer["status"] in FINAL:
                return

    def _news(self, path: str, since: int | str) -> Any:
        response = self.get(path, params={"since": since, "timeout": POLL_SECONDS})
        exceptions.raise_from_response(response)
        return response.json()
