# SPDX-License-Identifier: Apache-2.0
"""Minion pools: temporary machines that are kept ready beside the disks."""

from __future__ import annotations

from typing import Any

from openstack import resource

from coriolis.client.record import Record

FINAL = frozenset({"ALLOCATED", "DEALLOCATED", "ERROR"})


class MinionPool(Record):
    resource_key = "minion_pool"
    resources_key = "minion_pools"
    base_path = "/minion_pools"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    project_id = resource.Body("project_id")
    name = resource.Body("name")
    endpoint_id = resource.Body("endpoint_id")
    platform = resource.Body("platform")
    os_type = resource.Body("os_type")
    environment_options = resource.Body("environment_options", type=dict)
    skip_allocation = resource.Body("skip_allocation", type=bool)
    minimum_minions = resource.Body("minimum_minions", type=int)
    maximum_minions = resource.Body("maximum_minions", type=int)
    minion_max_idle_time = resource.Body("minion_max_idle_time", type=int)
    minion_retention_strategy = resource.Body("minion_retention_strategy")
    notes = resource.Body("notes")
    status = resource.Body("status")
    maintenance_trust_id = resource.Body("maintenance_trust_id")
    shared_resources = resource.Body("shared_resources")
    minion_machines = resource.Body("minion_machines", type=list)
    events = resource.Body("events", type=list)
    progress_updates = resource.Body("progress_updates", type=list)

    _query_mapping = resource.QueryParameters("all_projects", "sort_key", "sort_dir")

    def do(self, session: Any, action: str, arguments: Any = None) -> MinionPool:
        """``allocate``, ``refresh`` or ``deallocate``. :returns: the pool, which has only begun to change"""
        return self.existing(**self.act(session, action, arguments)["minion_pool"])

    @property
    def final(self) -> bool:
        return self.status in FINAL
