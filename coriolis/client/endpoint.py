# SPDX-License-Identifier: Apache-2.0
"""Endpoints, and what can be seen through them."""

from __future__ import annotations

import base64
from typing import Any

from openstack import exceptions, resource


class Endpoint(resource.Resource):
    """A platform account. Secrets in ``connection_info`` come back as ``***``; sent back so, they stay as they are."""

    resource_key = "endpoint"
    resources_key = "endpoints"
    base_path = "/endpoints"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True
    commit_method = "PUT"

    name = resource.Body("name")
    type = resource.Body("type")
    description = resource.Body("description")
    connection_info = resource.Body("connection_info", type=dict)
    mapped_regions = resource.Body("mapped_regions", type=list)
    project_id = resource.Body("project_id")
    user_id = resource.Body("user_id")
    created_at = resource.Body("created_at")
    updated_at = resource.Body("updated_at")

    _query_mapping = resource.QueryParameters("sort_key", "sort_dir")

    def validate(self, session: Any) -> tuple[bool, str | None]:
        """Asks a worker to open the connection: (valid, why not)."""
        response = session.post(f"{self.base_path}/{self.id}/actions", json={"validate-connection": None})
        exceptions.raise_from_response(response)
        verdict = response.json()["validate-connection"]
        return bool(verdict["valid"]), verdict.get("message")


class EndpointInstance(resource.Resource):
    """A virtual machine seen through an endpoint. Lists give a line each, ``fetch`` the whole hardware."""

    resource_key = "instance"
    resources_key = "instances"
    base_path = "/endpoints/%(endpoint_id)s/instances"
    allow_fetch = allow_list = True

    endpoint_id = resource.URI("endpoint_id")
    instance_name = resource.Body("instance_name")
    num_cpu = resource.Body("num_cpu", type=int)
    memory_mb = resource.Body("memory_mb", type=int)
    os_type = resource.Body("os_type")
    flavor_name = resource.Body("flavor_name")
    firmware_type = resource.Body("firmware_type")
    devices = resource.Body("devices", type=dict)

    _query_mapping = resource.QueryParameters("name", "env", "refresh")

    @staticmethod
    def path_id(name: str) -> str:
        """The path segment of an instance name or id: url-safe base64, as the wire contract has it."""
        return base64.urlsafe_b64encode(name.encode()).decode()


class EndpointNetwork(resource.Resource):
    resources_key = "networks"
    base_path = "/endpoints/%(endpoint_id)s/networks"
    allow_list = True

    endpoint_id = resource.URI("endpoint_id")


class EndpointStorage(resource.Resource):
    """One storage backend. They come as one object, not as a list of resources: see ``Proxy.endpoint_storage``."""

    endpoint_id = resource.URI("endpoint_id")
    additional_provider_properties = resource.Body("additional_provider_properties", type=dict)
