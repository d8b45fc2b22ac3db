# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets: limits of the bytes that copies move. Rates are bytes per second."""

from __future__ import annotations

from openstack import resource

from coriolis.client.record import Record


class BandwidthBudget(Record):
    """``now``: what holds at this moment; ``usage``: what its streams may use, and use."""

    resource_key = "bandwidth_budget"
    resources_key = "bandwidth_budgets"
    base_path = "/bandwidth_budgets"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    name = resource.Body("name")
    description = resource.Body("description")
    enabled = resource.Body("enabled", type=bool)
    scope = resource.Body("scope")
    target = resource.Body("target", type=dict)
    bytes_per_second = resource.Body("bytes_per_second", type=int)
    streams = resource.Body("streams", type=int)
    backoff_factor = resource.Body("backoff_factor", type=float)
    time_zone = resource.Body("time_zone")
    windows = resource.Body("windows", type=list)
    now = resource.Body("now", type=dict)
    usage = resource.Body("usage", type=dict)

    _query_mapping = resource.QueryParameters("sort_key", "sort_dir")
