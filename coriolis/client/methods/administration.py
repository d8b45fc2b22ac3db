# SPDX-License-Identifier: Apache-2.0
"""Regions, services, diagnostics and minion pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from coriolis.client.job import id_of
from coriolis.client.methods.waiting import until_final
from coriolis.client.minion_pool import MinionPool
from coriolis.client.region import Region
from coriolis.client.service import Diagnostics, Service


class AdministrationMethods(sdk_proxy.Proxy):
    """Regions, services and diagnostics are for administrators of the service."""

    def regions(self, **query: Any) -> Iterator[Region]:
        return self._list(Region, **query)

    def get_region(self, region: str | Region) -> Region:
        return self._get(Region, region)

    def find_region(self, name_or_id: str, ignore_missing: bool = False) -> Region | None:
        return self._find(Region, name_or_id, ignore_missing=ignore_missing)

    def create_region(self, **attributes: Any) -> Region:
        return self._create(Region, **attributes)

    def update_region(self, region: str | Region, **attributes: Any) -> Region:
        return self._update(Region, region, **attributes)

    def delete_region(self, region: str | Region, ignore_missing: bool = True) -> None:
        self._delete(Region, region, ignore_missing=ignore_missing)

    def services(self, **query: Any) -> Iterator[Service]:
        return self._list(Service, **query)

    def get_service(self, service: str | Service) -> Service:
        return self._get(Service, service)

    def find_service(self, host_or_id: str, ignore_missing: bool = False) -> Service | None:
        """By id, or by host where it has one service."""
        return self._find(Service, host_or_id, ignore_missing=ignore_missing)

    def create_service(self, **attributes: Any) -> Service:
        return self._create(Service, **attributes)

    def update_service(self, service: str | Service, **attributes: Any) -> Service:
        return self._update(Service, service, **attributes)

    def delete_service(self, service: str | Service, ignore_missing: bool = True) -> None:
        self._delete(Service, service, ignore_missing=ignore_missing)

    def diagnostics(self) -> Iterator[Diagnostics]:
        """What every process of the service runs on."""
        response = self.get("/diagnostics")
        exceptions.raise_from_response(response)
        for entry in response.json()["diagnostics"]:
            yield Diagnostics(application=entry["application"], hostname=entry["hostname"], entry=entry)

    def minion_pools(self, **query: Any) -> Iterator[MinionPool]:
        return self._list(MinionPool, **query)

    def get_minion_pool(self, minion_pool: str | MinionPool) -> MinionPool:
        return self._get(MinionPool, minion_pool)

    def find_minion_pool(self, name_or_id: str, ignore_missing: bool = False) -> MinionPool | None:
        return self._find(MinionPool, name_or_id, ignore_missing=ignore_missing)

    def create_minion_pool(self, **attributes: Any) -> MinionPool:
        return self._create(MinionPool, **attributes)

    def update_minion_pool(self, minion_pool: str | MinionPool, **attributes: Any) -> MinionPool:
        return self._update(MinionPool, minion_pool, **attributes)

    def delete_minion_pool(self, minion_pool: str | MinionPool, ignore_missing: bool = True) -> None:
        self._delete(MinionPool, minion_pool, ignore_missing=ignore_missing)

    def allocate_minion_pool(self, minion_pool: str | MinionPool) -> MinionPool:
        return self._get_resource(MinionPool, minion_pool).do(self, "allocate")

    def refresh_minion_pool(self, minion_pool: str | MinionPool) -> MinionPool:
        return self._get_resource(MinionPool, minion_pool).do(self, "refresh")

    def deallocate_minion_pool(self, minion_pool: str | MinionPool, *, force: bool = False) -> MinionPool:
        return self._get_resource(MinionPool, minion_pool).do(self, "deallocate", {"force": force})

    def wait_for_minion_pool(
        self,
        minion_pool: str | MinionPool,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        seen: Callable[[MinionPool], None] | None = None,
    ) -> MinionPool:
        """Until it is ALLOCATED, DEALLOCATED or in ERROR."""
        return until_final(
            lambda: self.get_minion_pool(id_of(minion_pool)), interval=interval, timeout=timeout, seen=seen
        )
