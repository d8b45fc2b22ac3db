# SPDX-License-Identifier: Apache-2.0
"""Every path of the service. Dispatch, policies, metrics and the reference are made from this table.

Paths without a policy are public and whole; the others are below ``/v1/{project_id}`` or, for convenience, below
``/v1`` with the project of the token. A path may end in ``.json``.
"""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.routes import (
    bandwidth_budgets,
    certificates,
    deployments,
    endpoints,
    inventory,
    migrations,
    minion_pools,
    providers,
    schedules,
    sites,
    transfers,
    versions,
)

ROUTES: tuple[Route, ...] = (
    *versions.ROUTES,
    *migrations.ROUTES,
    *transfers.ROUTES,
    *minion_pools.ROUTES,
    *deployments.ROUTES,
    *endpoints.ROUTES,
    *inventory.ROUTES,
    *providers.ROUTES,
    *bandwidth_budgets.ROUTES,
    *certificates.ROUTES,
    *schedules.ROUTES,
    *sites.ROUTES,
)
