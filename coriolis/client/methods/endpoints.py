# SPDX-License-Identifier: Apache-2.0
"""Endpoints, what is on them, and the providers behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.endpoint import (
    OPTION_LISTS,
    Endpoint,
    EndpointInstance,
    EndpointNetwork,
    EndpointOption,
    EndpointStorage,
    encoded,
)
from coriolis.client.job import id_of
from coriolis.client.provider import SCHEMAS, Provider

Environment = dict[str, Any]


class EndpointMethods(sdk_proxy.Proxy):
    """``environment`` is a provider's source or destination environment, where what is shown depends on it."""

    def providers(self) -> Iterator[Provider]:
        for name, entry in sorted(self._json("/providers")["providers"].items()):
            yield Provider(name=name, types=tuple(entry["types"]))

    def provider_schema(self, name: str, part: str) -> dict[str, Any]:
        """The JSON schema of a form; ``part`` is one of ``coriolis.client.provider.SCHEMAS``."""
        schemas: dict[str, Any] = self._json(f"/providers/{name}/schemas/{SCHEMAS[part]}")["schemas"]
        return next(iter(schemas.values()), {})

    def endpoints(self, **query: Any) -> Iterator[Endpoint]:
        """Newest first."""
        return self._list(Endpoint, **query)

    def get_endpoint(self, endpoint: str | Endpoint) -> Endpoint:  # type: ignore[override]  # as the identity proxy does
        return self._get(Endpoint, endpoint)

    def find_endpoint(self, name_or_id: str, ignore_missing: bool = False) -> Endpoint | None:
        return self._find(Endpoint, name_or_id, ignore_missing=ignore_missing)

    def create_endpoint(self, **attributes: Any) -> Endpoint:
        return self._create(Endpoint, **attributes)

    def update_endpoint(self, endpoint: str | Endpoint, **attributes: Any) -> Endpoint:
        return self._update(Endpoint, endpoint, **attributes)

    def delete_endpoint(self, endpoint: str | Endpoint, ignore_missing: bool = True) -> None:
        self._delete(Endpoint, endpoint, ignore_missing=ignore_missing)

    def validate_endpoint(self, endpoint: str | Endpoint) -> tuple[bool, str | None]:
        return self._get_resource(Endpoint, endpoint).validate(self)

    def endpoint_instances(
        self, endpoint: str | Endpoint, *, environment: Environment | None = None, **query: Any
    ) -> Iterator[EndpointInstance]:
        """``name`` filters by a part of it; ``refresh=True`` asks the platform and no cache."""
        return self._list(EndpointInstance, endpoint_id=id_of(endpoint), **query, **_env(environment))

    def get_endpoint_instance(
        self, endpoint: str | Endpoint, name: str, *, environment: Environment | None = None
    ) -> EndpointInstance:
        """By name or id, with its hardware."""
        path = f"/endpoints/{id_of(endpoint)}/instances/{EndpointInstance.path_id(name)}"
        found = self._json(path, **_env(environment))["instance"]
        return EndpointInstance.existing(endpoint_id=id_of(endpoint), **found)

    def endpoint_networks(
        self, endpoint: str | Endpoint, *, environment: Environment | None = None, **query: Any
    ) -> Iterator[EndpointNetwork]:
        return self._list(EndpointNetwork, endpoint_id=id_of(endpoint), **query, **_env(environment))

    def endpoint_storage(
        self, endpoint: str | Endpoint, *, environment: Environment | None = None
    ) -> Iterator[EndpointStorage]:
        storage = self._json(f"/endpoints/{id_of(endpoint)}/storage", **_env(environment))["storage"]
        for backend in storage["storage_backends"]:
            yield EndpointStorage.existing(endpoint_id=id_of(endpoint), **backend)

    def endpoint_options(
        self,
        endpoint: str | Endpoint,
        kind: str,
        *,
        environment: Environment | None = None,
        names: Sequence[str] = (),
    ) -> Iterator[EndpointOption]:
        """What can be chosen for the fields of an environment: ``kind`` is one of ``OPTION_LISTS``.

        :param names: these fields only
        """
        path, key = OPTION_LISTS[kind]
        query = _env(environment) | ({"options": encoded(list(names))} if names else {})
        for option in self._json(f"/endpoints/{id_of(endpoint)}/{path}", **query)[key]:
            values = tuple(option.get("values") or ())
            yield EndpointOption(name=option["name"], values=values, config_default=option.get("config_default"))

    def endpoint_inventory(self, endpoint: str | Endpoint, *, environment: Environment | None = None) -> str:
        """All instances of a platform with their hardware, as CSV with a line of headings."""
        path = f"/endpoints/{id_of(endpoint)}/inventory"
        response = self.get(path, params=_env(environment), headers={"Accept": "text/csv"})
        exceptions.raise_from_response(response)
        return str(response.text)

    def _json(self, path: str, **query: Any) -> Any:
        response = self.get(path, params=query)
        exceptions.raise_from_response(response)
        return response.json()


def _env(environment: Environment | None) -> dict[str, Any]:
    return {"env": encoded(environment)} if environment else {}
