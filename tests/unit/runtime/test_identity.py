# SPDX-License-Identifier: Apache-2.0
"""The local token as a filter, and what a context believes."""

from __future__ import annotations

from typing import Any

import pytest

from coriolis.runtime import identity, local_token
from coriolis.runtime.context import from_environ


def seen(environ: dict[str, Any]) -> Any:
    """The context behind the filter."""
    found: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(from_environ(environ))
        return []

    identity.local("right")(app)(environ, lambda *_: None)
    return found[0]


CLAIMS = {
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "thief",
    "HTTP_X_PROJECT_ID": "theirs",
    "HTTP_X_ROLES": "admin",
}


def test_the_right_token() -> None:
    context = seen({"HTTP_X_AUTH_TOKEN": "right", **CLAIMS})
    assert context.is_authenticated
    assert (context.project_id, context.user_id) == (local_token.PROJECT_ID, local_token.USER_ID)
    assert set(context.roles) == set(local_token.ROLES)


@pytest.mark.parametrize("token", [None, "", "wrong", "right ", "RIGHT", "\xff"])
def test_no_other_token_and_no_claims(token: str | None) -> None:
    environ = dict(CLAIMS) if token is None else {"HTTP_X_AUTH_TOKEN": token, **CLAIMS}
    context = seen(environ)
    assert not context.is_authenticated
    assert not context.roles


def test_unconfirmed_headers_are_not_believed() -> None:
    assert not from_environ({**CLAIMS, "HTTP_X_IDENTITY_STATUS": "Invalid"}).is_authenticated
    assert from_environ(dict(CLAIMS)).is_authenticated
    unscoped = {**CLAIMS}
    del unscoped["HTTP_X_PROJECT_ID"]
    assert not from_environ(unscoped).is_authenticated
