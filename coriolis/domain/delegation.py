# SPDX-License-Identifier: Apache-2.0
"""When a provider acts for the user of a job or of a request, with the user's own rights, since it was given no
credentials.

``connect`` then finds, beside the fields of its schema, the key ``delegation``. It holds the options of one of two
plugins of keystoneauth, and ``cafile``, the CA of Keystone or None:

=============== ========================================================================================= ============
plugin          options                                                                                   for
=============== ========================================================================================= ============
``v3password``  ``auth_url``, the trustee's ``username`` or ``user_id``, ``password``, its domain,        jobs
                ``trust_id``
``v3token``     ``auth_url``, ``token``, ``project_id``: the caller's own token, passed through           questions of
                                                                                                          the API
=============== ========================================================================================= ============

``plugin`` tells which. A question (an inventory, a validation, a dry run) ends with its request; so does the token in
time, and it cannot be renewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of a provider's connection schema: the connection info may come without credentials.
ACTS_FOR_USER = "x-acts-for-user"
# Key of the connection info under which the provider then finds how.
DELEGATION = "delegation"

_OF_A_SCOPE = ("project_", "domain_", "system_")  # a trust has a scope of its own


def acts_for_user(schema: Mapping[str, Any] | None, info: Mapping[str, Any]) -> bool:
    """Whether a provider with this connection schema is to act for the user. What is marked as a password, in any
    branch of the schema, is a credential."""
    if not schema or not schema.get(ACTS_FOR_USER):
        return False
    fields = dict(schema.get("properties", {}))
    for branch in schema.get("oneOf", ()):
        fields.update(branch.get("properties", {}))
    return not any(about.get("format") == "password" and info.get(name) for name, about in fields.items())


def under_trust(auth: Mapping[str, Any], trust_id: str, cafile: str | None) -> dict[str, Any]:
    """What a job's provider finds. ``auth``: the trustee's own options."""
    return {**unscoped(auth), "trust_id": trust_id, "cafile": cafile}


def with_token(auth_url: str, token: str, project_id: str, cafile: str | None) -> dict[str, Any]:
    """What the provider finds for a question of the API."""
    return {"auth_url": auth_url, "token": token, "project_id": project_id, "cafile": cafile}


def plugin(delegation: Mapping[str, Any]) -> str:
    """The plugin of keystoneauth that takes these options, without ``cafile``."""
    return "v3token" if delegation.get("token") else "v3password"


def unscoped(auth: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a user who is to act in no project of its own."""
    return {name: value for name, value in auth.items() if not name.startswith(_OF_A_SCOPE)}
