# SPDX-License-Identifier: Apache-2.0
"""Who may do what: oslo.policy with defaults in code and the three personas reader, member and admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


class Authority:
    """Answers whether a caller may. Rules from a policy file (``[oslo_policy]``) override the defaults."""

    def __init__(self, conf: cfg.ConfigOpts, rules: Sequence[policy.RuleDefault]) -> None:
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(rules)
        self._enforcer.load_rules()

    def allows(self, rule: str, context: RequestContext, target: dict[str, Any]) -> bool:
        """Whether ``rule`` lets the caller act on ``target`` (a dict with at least ``project_id``)."""
        return bool(self._enforcer.authorize(rule, target, context, do_raise=False))

    def require(self, rule: str, context: RequestContext, target: dict[str, Any]) -> None:
        """:raises Forbidden: the policy refuses"""
        if not self.allows(rule, context, target):
            raise Forbidden(f"The policy {rule} does not let you do this: ask for another role in this project")

    def is_admin(self, context: RequestContext) -> bool:
        return self.allows("admin", context, {"project_id": context.project_id})
