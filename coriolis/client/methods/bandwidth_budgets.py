# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets, for administrators of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openstack import proxy as sdk_proxy

from coriolis.client.bandwidth_budget import BandwidthBudget


class BandwidthBudgetMethods(sdk_proxy.Proxy):
    def bandwidth_budgets(self, **query: Any) -> Iterator[BandwidthBudget]:
        return self._list(BandwidthBudget, **query)

    def get_bandwidth_budget(self, bandwidth_budget: str | BandwidthBudget) -> BandwidthBudget:
        return self._get(BandwidthBudget, bandwidth_budget)

    def find_bandwidth_budget(self, name_or_id: str, ignore_missing: bool = False) -> BandwidthBudget | None:
        return self._find(BandwidthBudget, name_or_id, ignore_missing=ignore_missing)

    def create_bandwidth_budget(self, **attributes: Any) -> BandwidthBudget:
        return self._create(BandwidthBudget, **attributes)

    def update_bandwidth_budget(self, bandwidth_budget: str | BandwidthBudget, **attributes: Any) -> BandwidthBudget:
        return self._update(BandwidthBudget, bandwidth_budget, **attributes)

    def delete_bandwidth_budget(self, bandwidth_budget: str | BandwidthBudget, ignore_missing: bool = True) -> None:
        self._delete(BandwidthBudget, bandwidth_budget, ignore_missing=ignore_missing)
