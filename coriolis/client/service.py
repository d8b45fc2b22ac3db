# SPDX-License-Identifier: Apache-2.0
"""Services (workers) and what they tell about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openstack import resource

from coriolis.client.record import Record


class Service(Record):
    """A registered worker. It has no name of its own: ``name`` is its host, so that it can be found by it."""

    resource_key = "service"
    resources_key = "services"
    base_path = "/services"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    name = resource.Body("host")
    host = resource.Body("host")
    binary = resource.Body("binary")
    topic = resource.Body("topic")
    enabled = resource.Body("enabled", type=bool)
    status = resource.Body("status")
    providers = resource.Body("providers", type=dict)
    specs = resource.Body("specs", type=dict)
    mapped_regions = resource.Body("mapped_regions", type=list)

    _query_mapping = resource.QueryParameters("sort_key", "sort_dir")


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What one process of the service runs on; ``entry`` is all that it told."""

    application: str
    hostname: str
    entry: dict[str, Any]
