# SPDX-License-Identifier: Apache-2.0
"""Who may do what: oslo.policy with defaults in code and the three personas reader, member and admin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from cachetools import TTLCache
from oslo_config import cfg
from oslo_policy import policy

from coriolis.domain.errors import Forbidden
from coriolis.runtime.context import RequestContext

ADMIN = "rule:admin"
MEMBER = "rule:project_member"
READER = "rule:project_reader"

# The roles are spelled out, so that a Keystone without implied roles behaves the same.
PERSONAS = (
    policy.RuleDefault("admin", "role:admin", description="May do everything, in every project."),
    policy.RuleDefault(
        "project_member",
        "rule:admin or ((role:member or role:manager) and project_id:%(project_id)s)",
        description="May create and change what belongs to the project of the token.",
    ),
    policy.RuleDefault(
        "project_reader",
        "rule:project_member or (role:reader and project_id:%(project_id)s)",
        description="May look at what belongs to the project of the token.",
    ),
)


DECISION_SECONDS = 10.0
_MOST_DECISIONS = 10_000
# What a rule can ask of a caller; oslo.policy knows them under these names of the context, too.
_WHO = (
    *("user_id", "user_domain_id", "project_id", "project_domain_id", "domain_id", "system_scope", "is_admin_project"),
    *("service_user_id", "service_user_domain_id", "service_project_id", "service_project_domain_id"),
)


def _who(context: RequestContext) -> tuple[Hashable, ...]:
    return (*(getattr(context, name) for name in _WHO), tuple(context.roles), tuple(context.service_roles))


class Authority:
    """Answers whether a caller may. Rules from a policy file (``[oslo_policy]``) override the defaults; a changed file
    is obeyed within ``DECISION_SECONDS``. Who polls asks the same all the time, and oslo.policy looks for its file each
    time."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        rules: Sequence[policy.RuleDefault],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(rules)
        self._enforcer.load_rules()
        self._decided: TTLCache[Hashable, bool] = TTLCache(_MOST_DECISIONS, DECISION_SECONDS, timer)
        self._lock = threading.Lock()

    def allows(self, rule: str, context: RequestContext, target: dict[str, Any]) -> bool:
        """Whether ``rule`` lets the caller act on ``target`` (a dict with at least ``project_id``)."""
        key = (rule, *_who(context), *sorted(target.items()))
        with self._lock:
            decided = self._decided.get(key)
        if decided is None:
            decided = bool(self._enforcer.authorize(rule, target, context, do_raise=False))
            with self._lock:
                self._decided[key] = decided
        return decided

    def require(self, rule: str, context: RequestContext, target: dict[str, Any]) -> None:
        """:raises Forbidden: the policy refuses"""
        if not self.allows(rule, context, target):
            raise Forbidden(f"The policy {rule} does not let you do this: ask for another role in this project")

    def is_admin(self, context: RequestContext) -> bool:
        return self.allows("admin", context, {"project_id": context.project_id})
