# SPDX-License-Identifier: Apache-2.0
"""The three personas, rule by rule, and a policy file that overrides them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oslo_config import cfg

from coriolis.api import policies
from coriolis.api.routes import ROUTES
from coriolis.api.settings import empty_conf
from coriolis.domain.errors import Forbidden
from coriolis.runtime.context import RequestContext
from coriolis.runtime.policy import DECISION_SECONDS, Authority

RULES = [rule.name for rule in policies.list_rules() if rule.name.startswith("migration:")]
OF_ADMINISTRATORS = (
    "migration:bandwidth_budgets:",
    "migration:regions:",
    "migration:services:",
    "migration:diagnostics:",
    "migration:minion_pools:list_all_projects",
)
CHANGES = (
    "create", "update", "delete", "delete_disks", "cancel", "validate_connection", "allocate", "refresh", "deallocate",
)  # fmt: skip


def caller(*roles: str, project: str = "mine") -> RequestContext:
    return RequestContext(user_id="me", project_id=project, roles=list(roles), overwrite=False)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(empty_conf(), policies.list_rules())


@pytest.mark.parametrize("rule", RULES)
def test_personas(authority: Authority, rule: str) -> None:
    mine, theirs = {"project_id": "mine"}, {"project_id": "theirs"}
    changes = rule.endswith(CHANGES)
    closed = rule.startswith(OF_ADMINISTRATORS)
    assert authority.allows(rule, caller("reader"), mine) is not (changes or closed)
    assert authority.allows(rule, caller("member"), mine) is not closed
    assert authority.allows(rule, caller("manager"), mine) is not closed
    assert authority.allows(rule, caller("admin"), mine)
    assert authority.allows(rule, caller("admin"), theirs)
    for roles in (("reader",), ("member",), ("manager",), ("reader", "member")):
        assert not authority.allows(rule, caller(*roles), theirs)
    assert not authority.allows(rule, caller(), mine)
    assert not authority.allows(rule, caller("service"), mine)


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    asked = {name for route in ROUTES for name in (route.policy, *route.action_policies) if name}
    assert asked == set(RULES)


def test_a_refusal_names_the_rule(authority: Authority) -> None:
    with pytest.raises(Forbidden, match="migration:migrations:create"):
        authority.require("migration:migrations:create", caller("reader"), {"project_id": "mine"})


def test_a_policy_file_overrides(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('"migration:migrations:create": "role:mover"\n')
    settings = tmp_path / "coriolis.conf"
    settings.write_text(f"[oslo_policy]\npolicy_file = {path}\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(settings)], project="coriolis", default_config_dirs=[])
    authority = Authority(conf, policies.list_rules())
    assert authority.allows("migration:migrations:create", caller("mover"), {"project_id": "mine"})
    assert not authority.allows("migration:migrations:create", caller("member"), {"project_id": "mine"})
    assert authority.allows("migration:endpoints:create", caller("member"), {"project_id": "mine"})


def test_a_changed_policy_file_is_obeyed_after_a_moment(tmp_path: Path) -> None:
    path, settings, now = tmp_path / "policy.yaml", tmp_path / "coriolis.conf", [0.0]
    path.write_text('"migration:migrations:create": "role:mover"\n')
    settings.write_text(f"[oslo_policy]\npolicy_file = {path}\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(settings)], project="coriolis", default_config_dirs=[])
    authority = Authority(conf, policies.list_rules(), timer=lambda: now[0])
    asked = ("migration:migrations:create", caller("mover"), {"project_id": "mine"})
    assert authority.allows(*asked)
    path.write_text('"migration:migrations:create": "role:driver"\n')
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 5))
    now[0] += DECISION_SECONDS + 1
    assert not authority.allows(*asked)


def test_a_decision_is_for_one_caller(authority: Authority) -> None:
    asked = {"project_id": "mine"}
    for _ in range(2):
        assert authority.allows("migration:migrations:create", caller("member"), asked)
        assert not authority.allows("migration:migrations:create", caller("reader"), asked)
        assert not authority.allows("migration:migrations:create", caller("member"), {"project_id": "theirs"})
        assert not authority.allows("migration:migrations:delete", caller("reader"), asked)
