# SPDX-License-Identifier: Apache-2.0
"""Migrations with their tasks and events."""

from __future__ import annotations

from typing import Any

from openstack import exceptions, resource

FINAL = frozenset({"COMPLETED", "ERROR", "CANCELED"})


class Migration(resource.Resource):
    """One job: replicate, shut the source down when asked, deploy, start. Times are naive UTC."""

    resource_key = "migration"
    resources_key = "migrations"
    base_path = "/migrations"
    allow_create = allow_fetch = allow_delete = allow_list = True

    origin = resource.Body("origin", type=dict)
    destination = resource.Body("destination", type=dict)
    origin_endpoint_id = resource.Body("origin_endpoint_id")
    destination_endpoint_id = resource.Body("destination_endpoint_id")
    instances = resource.Body("instances", type=list)
    source_environment = resource.Body("source_environment", type=dict)
    destination_environment = resource.Body("destination_environment", type=dict)
    network_map = resource.Body("network_map", type=dict)
    storage_mappings = resource.Body("storage_mappings", type=dict)
    replication_count = resource.Body("replication_count", type=int)
    shutdown_instances = resource.Body("shutdown_instances", type=bool)
    skip_os_morphing = resource.Body("skip_os_morphing", type=bool)
    user_scripts = resource.Body("user_scripts", type=dict)
    notes = resource.Body("notes")
    status = resource.Body("last_execution_status")
    tasks = resource.Body("tasks", type=list)
    transfer_result = resource.Body("transfer_result", type=dict)
    project_id = resource.Body("project_id")
    user_id = resource.Body("user_id")
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")

    _query_mapping = resource.QueryParameters("status", "sort_key", "sort_dir")

    def cancel(self, session: Any, *, force: bool = False) -> None:
        """Asks for the end; ``force`` does not wait for running attempts to tidy up."""
        response = session.post(f"{self.base_path}/{self.id}/actions", json={"cancel": {"force": force}})
        exceptions.raise_from_response(response)

    @property
    def final(self) -> bool:
        return self.status in FINAL


class MigrationTask(resource.Resource):
    resource_key = "task"
    resources_key = "tasks"
    base_path = "/migrations/%(migration_id)s/tasks"
    allow_fetch = allow_list = True

    migration_id = resource.URI("migration_id")
    instance = resource.Body("instance")
    task_type = resource.Body("task_type")
    status = resource.Body("status")
    host = resource.Body("host")
    index = resource.Body("index", type=int)
    exception_details = resource.Body("exception_details")
    progress_updates = resource.Body("progress_updates", type=list)
    events = resource.Body("events", type=list)
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")


class MigrationEvent(resource.Resource):
    resources_key = "events"
    base_path = "/migrations/%(migration_id)s/events"
    allow_list = True

    migration_id = resource.URI("migration_id")
    task_id = resource.Body("task_id")
    level = resource.Body("level")
    message = resource.Body("message")
    index = resource.Body("index", type=int)
    created_at = resource.Body("created_at")
