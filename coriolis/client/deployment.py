# SPDX-License-Identifier: Apache-2.0
"""Deployments: the replicas of a transfer become machines."""

from __future__ import annotations

from openstack import resource

from coriolis.client.job import Event, Job


class Deployment(Job):
    """``PENDING`` while it waits for an execution of its transfer (``deployer_id``) that was asked to deploy."""

    resource_key = "deployment"
    resources_key = "deployments"
    base_path = "/deployments"
    allow_create = allow_fetch = allow_delete = allow_list = True

    transfer_id = resource.Body("transfer_id")
    transfer_scenario_type = resource.Body("transfer_scenario_type")
    deployer_id = resource.Body("deployer_id")
    clone_disks = resource.Body("clone_disks", type=bool)
    force = resource.Body("force", type=bool)

    _query_mapping = resource.QueryParameters("status", "sort_key", "sort_dir", "show_deleted", "include_task_info")


class DeploymentEvent(Event):
    base_path = "/deployments/%(deployment_id)s/events"
    deployment_id = resource.URI("deployment_id")
