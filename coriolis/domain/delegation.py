# SPDX-License-Identifier: Apache-2.0
"""When a provider acts for the user of a job, with the user's own rights, since it was given no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of a provider's connection schema: the connection info may come without credentials.
ACTS_FOR_USER = "x-acts-for-user"
# Key of the connection info under which the provider then finds how: the options of keystoneauth's v3password.
DELEGATION = "delegation"


def acts_for_user(schema: Mapping[str, Any] | None, info: Mapping[str, Any]) -> bool:
    """Whether a provider with this connection schema is to act for the user. What is marked as a password, in any
    branch of the schema, is a credential."""
    if not schema or not schema.get(ACTS_FOR_USER):
        return False
    fields = dict(schema.get("properties", {}))
    for branch in schema.get("oneOf", ()):
        fields.update(branch.get("properties", {}))
    return not any(about.get("format") == "password" and info.get(name) for name, about in fields.items())
