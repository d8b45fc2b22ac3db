# SPDX-License-Identifier: Apache-2.0
"""What our credentials may not do by the policies that OpenStack comes with: told before a byte moves."""

from __future__ import annotations

from collections.abc import Iterator

from coriolis.providers.api import Concern

_READS_ONLY = frozenset({"reader", "observer", "audit"})


def looks_only(roles: frozenset[str], what: str) -> Iterator[Concern]:
    """A blocking concern when all roles of the token let it look only. ``what``: is to be made, in words."""
    if roles and roles <= _READS_ONLY:
        message = (
            f"the credentials may only look ({', '.join(sorted(roles))}): {what} need the role member in the project"
        )
        yield Concern(code="openstack.rights", message=message, blocking=True)
