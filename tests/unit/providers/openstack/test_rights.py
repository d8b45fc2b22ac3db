# SPDX-License-Identifier: Apache-2.0
"""Roles that let look only."""

from __future__ import annotations

import pytest

from coriolis.providers.openstack.rights import looks_only


@pytest.mark.parametrize("roles", [{"reader"}, {"reader", "audit"}])
def test_who_may_only_look_is_told(roles: set[str]) -> None:
    (concern,) = looks_only(frozenset(roles), "volumes")
    assert (concern.code, concern.blocking) == ("openstack.rights", True)
    assert f"({', '.join(sorted(roles))}): volumes need the role member" in concern.message


@pytest.mark.parametrize("roles", [set(), {"member"}, {"reader", "member"}, {"admin"}, {"our-own-role"}])
def test_who_may_more_is_not(roles: set[str]) -> None:
    """A role that nobody has heard of may allow anything; no role told is nothing known."""
    assert list(looks_only(frozenset(roles), "volumes")) == []
