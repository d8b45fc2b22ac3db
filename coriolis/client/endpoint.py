# SPDX-License-Identifier: Apache-2.0
"""Endpoints, and what can be seen through them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from openstack import resource

from coriolis.client.record import Paged, Record


class Endpoint(Record):
    """A platform account. Secrets in ``connection_info`` come back as ``***``; sent back so, they stay as they are."""

    resource_key = "endpoint"
    resources_key = "endpoints"
    base_path = "/endpoints"
    allow_create = allow_fetch = allow_commit = allow_delete = allow_list = True

    name = resource.Body("name")
    type = resource.Body("type")
    description = resource.Body("description")
    connection_info = resource.Body("connection_info", type=dict)
    mapped_regions = resource.Body("mapped_regions", type=list)

    _query_mapping = resource.QueryParameters("sort_key", "sort_dir")

    def validate(self, session: Any) -> tuple[bool, str | None]:
        """Asks a worker to open the connection: (valid, why not)."""
        verdict = self.act(session, "validate-connection")["validate-connection"]
        return bool(verdict["valid"]), verdict.get("message")


class EndpointInstance(Paged):
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

    @classmethod
    def _get_next_link(
        cls, uri: str, response: Any, data: dict[str, Any], marker: str | None, limit: Any, total_yielded: int
    ) -> tuple[str | None, Any]:
        """A page that is shorter is the last: asking once more would cost a call of the platform."""
        if limit and len(data["instances"]) < int(limit):
            return None, {}
        return super()._get_next_link(uri, response, data, marker, limit, total_yielded)

    @staticmethod
    def path_id(name: str) -> str:
        """The path segment of an instance name or id: url-safe base64, as the wire contract has it."""
        return base64.urlsafe_b64encode(name.encode()).decode()


class EndpointNetwork(resource.Resource):
    resources_key = "networks"
    base_path = "/endpoints/%(endpoint_id)s/networks"
    allow_list = True

    endpoint_id = resource.URI("endpoint_id")

    _query_mapping = resource.QueryParameters("env")


class EndpointStorage(resource.Resource):
    """One storage backend. They come as one object, not as a list of resources: see ``Proxy.endpoint_storage``."""

    endpoint_id = resource.URI("endpoint_id")
    name = resource.Body("name")
    additional_provider_properties = resource.Body("additional_provider_properties", type=dict)


# Which options there are: the path below an endpoint, and the key of the answer.
OPTION_LISTS = {
    "source": ("source-options", "source_options"),
    "destination": ("destination-options", "destination_options"),
    "source minion pool": ("source-minion-pool-options", "source_minion_pool_options"),
    "destination minion pool": ("destination-minion-pool-options", "destination_minion_pool_options"),
}


@dataclass(frozen=True, kw_only=True)
class EndpointOption:
    """A field of an environment for which the platform knows what can be chosen."""

    name: str
    values: tuple[Any, ...]
    config_default: Any = None


def encoded(value: Any) -> str:
    """The form of ``env`` and ``options`` in a query: url-safe base64 of JSON."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
