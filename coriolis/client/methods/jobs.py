# SPDX-License-Identifier: Apache-2.0
"""Migrations and deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.deployment import Deployment
from coriolis.client.job import id_of
from coriolis.client.methods.waiting import until_final
from coriolis.client.migration import Migration, MigrationTask, MigrationTaskProgress
from coriolis.client.plan import Plan, plan_of


class JobMethods(sdk_proxy.Proxy):
    """Lists are newest first unless ``sort_key`` and ``sort_dir`` say otherwise. Waiting: see ``until_final``."""

    def migrations(self, **query: Any) -> Iterator[Migration]:
        return self._list(Migration, **query)

    def get_migration(self, migration: str | Migration) -> Migration:
        return self._get(Migration, migration)

    def find_migration(self, migration_id: str, ignore_missing: bool = False) -> Migration | None:
        """Migrations have no names: by id."""
        return self._find(Migration, migration_id, ignore_missing=ignore_missing)

    def create_migration(self, **attributes: Any) -> Migration:
        return self._create(Migration, **attributes)

    def plan_migration(self, **attributes: Any) -> Plan:
        """What ``create_migration`` would do with the same attributes. Both platforms are asked, nothing is made."""
        return self._plan("migration", attributes)

    def cancel_migration(self, migration: str | Migration, *, force: bool = False) -> None:
        self._get_resource(Migration, migration).cancel(self, force=force)

    def retry_migration(self, migration: str | Migration) -> Migration:
        """Runs the instances again that failed; those that are complete stay as they are."""
        return self._get_resource(Migration, migration).retry(self)

    def delete_migration(self, migration: str | Migration, ignore_missing: bool = True) -> None:
        self._delete(Migration, migration, ignore_missing=ignore_missing)

    def migration_tasks(self, migration: str | Migration, **query: Any) -> Iterator[MigrationTask]:
        return self._list(MigrationTask, migration_id=id_of(migration), **query)

    def get_migration_task(self, migration: str | Migration, task: str) -> MigrationTask:
        return self._get(MigrationTask, task, migration_id=id_of(migration))

    def migration_task_progress(
        self, migration: str | Migration, task: str | MigrationTask, **query: Any
    ) -> Iterator[MigrationTaskProgress]:
        return self._list(MigrationTaskProgress, migration_id=id_of(migration), task_id=id_of(task), **query)

    def wait_for_migration(
        self,
        migration: str | Migration,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        seen: Callable[[Migration], None] | None = None,
    ) -> Migration:
        return until_final(lambda: self.get_migration(id_of(migration)), interval=interval, timeout=timeout, seen=seen)

    def deployments(self, **query: Any) -> Iterator[Deployment]:
        return self._list(Deployment, **query)

    def get_deployment(self, deployment: str | Deployment) -> Deployment:
        return self._get(Deployment, deployment)

    def find_deployment(self, deployment_id: str, ignore_missing: bool = False) -> Deployment | None:
        """Deployments have no names: by id."""
        return self._find(Deployment, deployment_id, ignore_missing=ignore_missing)

    def create_deployment(self, **attributes: Any) -> Deployment:
        """At least ``transfer_id``. What is left out has the service's defaults, not the transfer's."""
        return self._create(Deployment, **attributes)

    def plan_deployment(self, **attributes: Any) -> Plan:
        """What ``create_deployment`` would do with the same attributes. Nothing is made."""
        return self._plan("deployment", attributes)

    def cancel_deployment(self, deployment: str | Deployment, *, force: bool = False) -> None:
        self._get_resource(Deployment, deployment).cancel(self, force=force)

    def retry_deployment(self, deployment: str | Deployment) -> Deployment:
        """Runs the instances again that failed; those that are complete stay as they are."""
        return self._get_resource(Deployment, deployment).retry(self)

    def delete_deployment(self, deployment: str | Deployment, ignore_missing: bool = True) -> None:
        self._delete(Deployment, deployment, ignore_missing=ignore_missing)

    def wait_for_deployment(
        self,
        deployment: str | Deployment,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        seen: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        return until_final(
            lambda: self.get_deployment(id_of(deployment)), interval=interval, timeout=timeout, seen=seen
        )

    def _plan(self, noun: str, attributes: dict[str, Any]) -> Plan:
        response = self.post(f"/{noun}s", json={noun: attributes}, params={"dry_run": True})
        exceptions.raise_from_response(response)
        return plan_of(response.json()["dry_run"])
