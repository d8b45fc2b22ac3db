# SPDX-License-Identifier: Apache-2.0
"""Default policies. A module per noun gives (verb, persona, description); paths and methods come from the routes."""

from __future__ import annotations

from oslo_policy import policy

from coriolis.api.policies import (
    bandwidth_budgets,
    certificates,
    deployments,
    diagnostics,
    endpoints,
    events,
    migrations,
    minion_pools,
    progress_updates,
    providers,
    regions,
    services,
    tasks,
    transfer_executions,
    transfer_schedules,
    transfers,
)
from coriolis.runtime.policy import PERSONAS

_NOUNS = {
    "bandwidth_budgets": bandwidth_budgets.RULES,
    "certificates": certificates.RULES,
    "deployments": deployments.RULES,
    "diagnostics": diagnostics.RULES,
    "endpoints": endpoints.RULES,
    "events": events.RULES,
    "migrations": migrations.RULES,
    "minion_pools": minion_pools.RULES,
    "progress_updates": progress_updates.RULES,
    "providers": providers.RULES,
    "regions": regions.RULES,
    "services": services.RULES,
    "tasks": tasks.RULES,
    "transfer_executions": transfer_executions.RULES,
    "transfers": transfers.RULES,
    "transfer_schedules": transfer_schedules.RULES,
}


def list_rules() -> list[policy.RuleDefault]:
    """Every rule, for the service and for oslopolicy-sample-generator."""
    rules: list[policy.RuleDefault] = list(PERSONAS)
    for noun, entries in _NOUNS.items():
        for verb, persona, description in entries:
            name = f"migration:{noun}:{verb}"
            rules.append(policy.DocumentedRuleDefault(name, persona, description, _operations(name)))
    return rules


def _operations(name: str) -> list[policy.Operation]:
    from coriolis.api.routes import ROUTES  # late: the table imports every handler, most users of the rules do not

    return [
        {"method": r.method, "path": "/v1/{project_id}" + r.path}
        for r in ROUTES
        if name in (r.policy, *r.action_policies)
    ]
