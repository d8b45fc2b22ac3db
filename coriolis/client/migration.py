# SPDX-License-Identifier: Apache-2.0
"""Migrations with their tasks and events."""

from __future__ import annotations

from openstack import resource

from coriolis.client.job import Event, Job, Progress, Task


class Migration(Job):
    """One job: replicate, shut the source down when asked, deploy, start."""

    resource_key = "migration"
    resources_key = "migrations"
    base_path = "/migrations"
    allow_create = allow_fetch = allow_delete = allow_list = True

    origin = resource.Body("origin", type=dict)
    destination = resource.Body("destination", type=dict)
    replication_count = resource.Body("replication_count", type=int)
    shutdown_instances = resource.Body("shutdown_instances", type=bool)

    _query_mapping = resource.QueryParameters("status", "sort_key", "sort_dir")


class MigrationTask(Task):
    base_path = "/migrations/%(migration_id)s/tasks"
    migration_id = resource.URI("migration_id")


class MigrationTaskProgress(Progress):
    base_path = "/migrations/%(migration_id)s/tasks/%(task_id)s/progress_updates"
    migration_id = resource.URI("migration_id")
    task_id = resource.URI("task_id")


class MigrationEvent(Event):
    base_path = "/migrations/%(migration_id)s/events"
    migration_id = resource.URI("migration_id")
