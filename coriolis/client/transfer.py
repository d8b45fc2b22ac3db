# SPDX-License-Identifier: Apache-2.0
"""Transfers with their executions and schedules."""

from __future__ import annotations

from typing import Any

from openstack import exceptions, resource

from coriolis.client.job import FINAL, Event, Job
from coriolis.client.record import Record


class Transfer(Job):
    """A standing definition of what to keep in sync. An update answers an execution: see ``change``."""

    resource_key = "transfer"
    resources_key = "transfers"
    base_path = "/transfers"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    scenario = resource.Body("scenario")
    clone_disks = resource.Body("clone_disks", type=bool)
    clustered = resource.Body("clustered", type=bool)
    executions = resource.Body("executions", type=list)

    _query_mapping = resource.QueryParameters("status", "sort_key", "sort_dir", "show_deleted", "include_task_info")

    def change(self, session: Any, **attributes: Any) -> TransferExecution:
        """:returns: the execution that makes the change; the transfer has the new values when it is over"""
        response = session.put(f"{self.base_path}/{self.id}", json={"transfer": attributes})
        exceptions.raise_from_response(response)
        return execution_of(self.id, response.json())

    def delete_disks(self, session: Any) -> TransferExecution:
        """Removes the replicas from the destination, and what is kept on the source for increments."""
        return execution_of(self.id, self.act(session, "delete-disks"))


class TransferExecution(Record):
    """One run of a transfer. ``type`` is transfer_execution, transfer_update or transfer_disks_delete."""

    resource_key = "execution"
    resources_key = "executions"
    base_path = "/transfers/%(transfer_id)s/executions"
    allow_create = allow_fetch = allow_delete = allow_list = True

    transfer_id = resource.URI("transfer_id")
    action_id = resource.Body("action_id")
    number = resource.Body("number", type=int)
    type = resource.Body("type")
    status = resource.Body("status")
    message = resource.Body("message")
    tasks = resource.Body("tasks", type=list)
    shutdown_instances = resource.Body("shutdown_instances", type=bool)
    auto_deploy = resource.Body("auto_deploy", type=bool)

    _query_mapping = resource.QueryParameters("status", "sort_key", "sort_dir")

    def cancel(self, session: Any, *, force: bool = False) -> None:
        self.act(session, "cancel", {"force": force})

    def retry(self, session: Any) -> TransferExecution:
        """:returns: a new execution, of the instances that failed in this one"""
        return execution_of(self.transfer_id, self.act(session, "retry"))

    @property
    def final(self) -> bool:
        return self.status in FINAL


class TransferExecutionEvent(Event):
    base_path = "/transfers/%(transfer_id)s/executions/%(execution_id)s/events"
    transfer_id = resource.URI("transfer_id")
    execution_id = resource.URI("execution_id")


class TransferSchedule(Record):
    """When a transfer is executed by itself.

    ``schedule`` holds exact numbers in UTC: minute, hour, dom, month, dow (0 is Monday); what is absent matches always.
    """

    resource_key = "schedule"
    resources_key = "schedules"
    base_path = "/transfers/%(transfer_id)s/schedules"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True
    # Requests have no envelope, answers have one: the wire contract.
    create_opts = resource.CreateOpts(request_key=None, response_key="schedule")

    transfer_id = resource.URI("transfer_id")
    schedule = resource.Body("schedule", type=dict)
    enabled = resource.Body("enabled", type=bool)
    expiration_date = resource.Body("expiration_date")
    shutdown_instance = resource.Body("shutdown_instance", type=bool)
    auto_deploy = resource.Body("auto_deploy", type=bool)

    _query_mapping = resource.QueryParameters("show_expired", "sort_key", "sort_dir")

    def commit(  # type: ignore[override]  # the same call, with fewer words
        self, session: Any, prepend_key: bool = False, **more: Any
    ) -> TransferSchedule:
        return super().commit(session, prepend_key=False, **more)


def execution_of(transfer_id: str, answer: dict[str, Any]) -> TransferExecution:
    return TransferExecution.existing(transfer_id=transfer_id, **answer["execution"])
