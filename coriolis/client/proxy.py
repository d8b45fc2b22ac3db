# SPDX-License-Identifier: Apache-2.0
"""The methods of the service, in openstacksdk's manner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.endpoint import Endpoint, EndpointInstance, EndpointNetwork, EndpointStorage
from coriolis.client.migration import Migration, MigrationEvent, MigrationTask
from coriolis.client.provider import SCHEMAS, Provider


class Proxy(sdk_proxy.Proxy):
    """``find_*`` take a name or an id; lists are generators that page by themselves."""

    # -- providers

    def providers(self) -> Iterator[Provider]:
        response = self.get("/providers")
        exceptions.raise_from_response(response)
        for name, entry in sorted(response.json()["providers"].items()):
            yield Provider(name=name, types=tuple(entry["types"]))

    def provider_schema(self, name: str, part: str) -> dict[str, Any]:
        """The JSON schema of a provider's ``connection``, ``source`` or ``destination`` form."""
        response = self.get(f"/providers/{name}/schemas/{SCHEMAS[part]}")
        exceptions.raise_from_response(response)
        schemas: dict[str, Any] = response.json()["schemas"]
        return next(iter(schemas.values()), {})

    # -- endpoints

    def endpoints(self, **query: Any) -> Iterator[Endpoint]:
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

    def endpoint_instances(self, endpoint: str | Endpoint, **query: Any) -> Iterator[EndpointInstance]:
        return self._list(EndpointInstance, endpoint_id=_id(endpoint), **query)

    def get_endpoint_instance(self, endpoint: str | Endpoint, name: str) -> EndpointInstance:
        return self._get(EndpointInstance, EndpointInstance.path_id(name), endpoint_id=_id(endpoint))

    def endpoint_networks(self, endpoint: str | Endpoint, **query: Any) -> Iterator[EndpointNetwork]:
        return self._list(EndpointNetwork, endpoint_id=_id(endpoint), **query)

    def endpoint_storage(self, endpoint: str | Endpoint, **query: Any) -> Iterator[EndpointStorage]:
        response = self.get(f"/endpoints/{_id(endpoint)}/storage", params=query)
        exceptions.raise_from_response(response)
        for backend in response.json()["storage"]["storage_backends"]:
            yield EndpointStorage.existing(endpoint_id=_id(endpoint), **backend)

    # -- migrations

    def migrations(self, **query: Any) -> Iterator[Migration]:
        """Newest first unless ``sort_key`` says otherwise."""
        return self._list(Migration, **query)

    def get_migration(self, migration: str | Migration) -> Migration:
        return self._get(Migration, migration)

    def create_migration(self, **attributes: Any) -> Migration:
        return self._create(Migration, **attributes)

    def cancel_migration(self, migration: str | Migration, *, force: bool = False) -> None:
        self._get_resource(Migration, migration).cancel(self, force=force)

    def delete_migration(self, migration: str | Migration, ignore_missing: bool = True) -> None:
        self._delete(Migration, migration, ignore_missing=ignore_missing)

    def migration_tasks(self, migration: str | Migration, **query: Any) -> Iterator[MigrationTask]:
        return self._list(MigrationTask, migration_id=_id(migration), **query)

    def migration_events(self, migration: str | Migration, **query: Any) -> Iterator[MigrationEvent]:
        return self._list(MigrationEvent, migration_id=_id(migration), **query)

    def wait_for_migration(
        self,
        migration: str | Migration,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        seen: Callable[[Migration], None] | None = None,
    ) -> Migration:
        """Polls until the migration is final; ``seen`` is called with every state on the way. Times in seconds.

        :raises openstack.exceptions.ResourceTimeout: ``timeout`` has passed
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            current = self.get_migration(_id(migration))
            if seen:
                seen(current)
            if current.final:
                return current
            if deadline is not None and time.monotonic() > deadline:
                raise exceptions.ResourceTimeout(
                    f"Migration {current.id} is still {current.status} after {timeout} seconds. It goes on; look at "
                    f"it with 'coriolis migration show {current.id}'."
                )
            time.sleep(interval)


def _id(thing: Any) -> str:
    return str(getattr(thing, "id", thing))
