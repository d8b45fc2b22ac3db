# SPDX-License-Identifier: Apache-2.0
"""Who asks, and under which request id: one immutable-by-habit record that follows a request into the logs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from oslo_context import context as oslo_context
from oslo_utils import timeutils

AUTHENTICATED = "Confirmed"  # keystonemiddleware's X-Identity-Status of a good token


class RequestContext(oslo_context.RequestContext):
    """An authenticated (or anonymous) caller. Roles, project and user come from the identity middleware only."""

    token_ends_at: dt.datetime | None = None  # None: the token does not end

    @property
    def is_authenticated(self) -> bool:
        """Whether a valid token that is scoped to a project came with the request."""
        return bool(self.user_id and self.project_id)


def from_environ(environ: dict[str, Any]) -> RequestContext:
    """The caller as the identity middleware described it in the WSGI environment.

    Without a confirmed token nothing of the headers is believed: the context is anonymous.
    """
    request_id = environ.get("openstack.request_id")
    if environ.get("HTTP_X_IDENTITY_STATUS") != AUTHENTICATED:
        return RequestContext(request_id=request_id, overwrite=False)
    context = RequestContext.from_environ(environ, request_id=request_id, overwrite=False)
    context.token_ends_at = _end_of(environ.get("keystone.token_info"))
    return context


def _end_of(token_info: Any) -> dt.datetime | None:
    """``token_info``: what keystonemiddleware got from Keystone about the token."""
    text = ((token_info or {}).get("token") or {}).get("expires_at")
    return None if text is None else timeutils.parse_isotime(text)
