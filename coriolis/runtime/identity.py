# SPDX-License-Identifier: Apache-2.0
"""Who may speak: Keystone tokens, or the local token of a standalone service.

Both are WSGI middleware that leave the same marks in the environment (keystonemiddleware's headers), so that
nothing behind them knows which one is in use. keystonemiddleware answers 401 to a bad token and 503 when Keystone is
away; the local one passes a request without the token on as anonymous, and the dispatcher answers 401.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Any

from keystoneauth1 import exceptions as keystone_errors
from keystonemiddleware import auth_token
from oslo_config import cfg

from coriolis.domain.errors import Unavailable
from coriolis.runtime import local_token
from coriolis.runtime.context import AUTHENTICATED

LOG = logging.getLogger(__name__)

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
IdentityFilter = Callable[[WsgiApp], WsgiApp]

# Every header by which keystonemiddleware tells who the caller is. A client must not be able to send them itself.
_PREFIXES = ("HTTP_X_", "HTTP_OPENSTACK_SYSTEM_SCOPE")
_CLIENT_HEADERS = frozenset(
    {
        "HTTP_X_AUTH_TOKEN",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PORT",
        "HTTP_X_FORWARDED_PREFIX",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_X_OPENSTACK_REQUEST_ID",
    }
)


def keystone(conf: cfg.ConfigOpts) -> IdentityFilter:
    """Tokens are validated by Keystone, as group ``keystone_authtoken`` of ``conf`` says."""

    def wrap(app: WsgiApp) -> WsgiApp:
        checked = auth_token.AuthProtocol(app, {"oslo_config_config": conf})

        def authenticate(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            try:
                return checked(environ, start_response)
            except keystone_errors.ClientException as error:
                # keystonemiddleware answers for a Keystone that is away, not for one that it is not set up for
                LOG.error("Tokens cannot be checked, see section [keystone_authtoken]: %s", error)
                raise Unavailable("Tokens cannot be checked at the moment: the log of the service says why") from None

        return authenticate

    return wrap


def local(token: str, project_id: str = local_token.PROJECT_ID) -> IdentityFilter:
    """The one token of a standalone service; its bearer is admin of the one project."""
    expected = token.encode("utf-8")

    def wrap(app: WsgiApp) -> WsgiApp:
        def authenticate(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            given = environ.get("HTTP_X_AUTH_TOKEN", "").encode("latin-1")
            forget_claims(environ)
            if hmac.compare_digest(given, expected):
                environ.update(_local_caller(project_id))
            return app(environ, start_response)

        return authenticate

    return wrap


def forget_claims(environ: dict[str, Any]) -> None:
    """Remove what a client may have sent in the place of the identity middleware's own marks."""
    for name in [n for n in environ if n.startswith(_PREFIXES) and n not in _CLIENT_HEADERS]:
        del environ[name]


def _local_caller(project_id: str) -> dict[str, str]:
    return {
        "HTTP_X_IDENTITY_STATUS": AUTHENTICATED,
        "HTTP_X_USER_ID": local_token.USER_ID,
        "HTTP_X_USER_NAME": "standalone",
        "HTTP_X_PROJECT_ID": project_id,
        "HTTP_X_PROJECT_NAME": "standalone",
        "HTTP_X_ROLES": ",".join(local_token.ROLES),
    }
