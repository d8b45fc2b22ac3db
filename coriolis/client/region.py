# SPDX-License-Identifier: Apache-2.0
"""Regions: where workers stand and which endpoints they reach."""

from __future__ import annotations

from openstack import resource

from coriolis.client.record import Record


class Region(Record):
    resource_key = "region"
    resources_key = "regions"
    base_path = "/regions"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    name = resource.Body("name")
    description = resource.Body("description")
    enabled = resource.Body("enabled", type=bool)
    mapped_endpoints = resource.Body("mapped_endpoints", type=list)
    mapped_services = resource.Body("mapped_services", type=list)

    _query_mapping = resource.QueryParameters("sort_key", "sort_dir")
