# SPDX-License-Identifier: Apache-2.0
"""What migrations, transfers and deployments have in common, and the runs of them."""

from __future__ import annotations

from typing import Any, Self

from openstack import resource

from coriolis.client.record import Paged, Record

# All of the wire contract, also those that only the existing server has.
FINAL = frozenset(
    {"COMPLETED", "ERROR", "ERROR_ALLOCATING_MINIONS", "CANCELED", "CANCELED_FOR_DEBUGGING", "DEADLOCKED"}
)


class Job(Record):
    """Moves instances from one endpoint to another. ``status`` is that of its latest run, ``UNEXECUTED`` before."""

    NAMED = False

    origin_endpoint_id = resource.Body("origin_endpoint_id")
    destination_endpoint_id = resource.Body("destination_endpoint_id")
    instances = resource.Body("instances", type=list)
    source_environment = resource.Body("source_environment", type=dict)
    destination_environment = resource.Body("destination_environment", type=dict)
    network_map = resource.Body("network_map", type=dict)
    storage_mappings = resource.Body("storage_mappings", type=dict)
    user_scripts = resource.Body("user_scripts", type=dict)
    skip_os_morphing = resource.Body("skip_os_morphing", type=bool)
    origin_minion_pool_id = resource.Body("origin_minion_pool_id")
    destination_minion_pool_id = resource.Body("destination_minion_pool_id")
    instance_osmorphing_minion_pool_mappings = resource.Body("instance_osmorphing_minion_pool_mappings", type=dict)
    notes = resource.Body("notes")
    status = resource.Body("last_execution_status")
    message = resource.Body("message")
    tasks = resource.Body("tasks", type=list)
    info = resource.Body("info", type=dict)
    transfer_result = resource.Body("transfer_result", type=dict)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def cancel(self, session: Any, *, force: bool = False) -> None:
        """Asks for the end; ``force`` does not wait for running attempts to tidy up."""
        self.act(session, "cancel", {"force": force})

    def retry(self, session: Any) -> Self:
        """Runs the instances again that failed. :returns: the job, which runs again"""
        return self.existing(**self.act(session, "retry")[self.resource_key])


class Task(Paged):
    """One step for one instance. Below a job or a run of it."""

    resource_key = "task"
    resources_key = "tasks"
    allow_fetch = allow_list = True

    instance = resource.Body("instance")
    task_type = resource.Body("task_type")
    status = resource.Body("status")
    host = resource.Body("host")
    index = resource.Body("index", type=int)
    item = resource.Body("item")
    depends_on = resource.Body("depends_on", type=list)
    exception_details = resource.Body("exception_details")
    progress_updates = resource.Body("progress_updates", type=list)
    events = resource.Body("events", type=list)
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")


class Progress(Paged):
    """How far one item of a task is; without ``total_steps`` it is only words."""

    resources_key = "progress_updates"
    allow_list = True

    index = resource.Body("index", type=int)
    current_step = resource.Body("current_step", type=int)
    total_steps = resource.Body("total_steps", type=int)
    message = resource.Body("message")
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")


class Event(Paged):
    """Something that happened, oldest first."""

    resources_key = "events"
    allow_list = True

    task_id = resource.Body("task_id")
    level = resource.Body("level")
    message = resource.Body("message")
    index = resource.Body("index", type=int)
    created_at = resource.Body("created_at")

    _query_mapping = resource.QueryParameters("since", "timeout", "sort_key", "sort_dir")


def id_of(thing: Any) -> str:
    return str(getattr(thing, "id", thing))
