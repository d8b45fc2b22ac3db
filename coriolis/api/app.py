# SPDX-License-Identifier: Apache-2.0
"""Puts the WSGI application together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from oslo_middleware import cors, healthcheck, http_proxy_to_wsgi, request_id, sizelimit
from prometheus_client import REGISTRY, CollectorRegistry

from coriolis.api import openapi, policies
from coriolis.api.catalogue import Catalogue
from coriolis.api.dispatch import Table
from coriolis.api.errors import FaultWrapper
from coriolis.api.metrics import Metrics
from coriolis.api.rates import Rates
from coriolis.api.root import make_root
from coriolis.api.routes import ROUTES
from coriolis.api.services import Services
from coriolis.api.settings import ApiSettings
from coriolis.api.watch import Watch
from coriolis.api.wire import WireCheck, path_of
from coriolis.conf import opts
from coriolis.rpc.bus import Bus
from coriolis.runtime.identity import IdentityFilter, StartResponse, WsgiApp, forget_claims
from coriolis.runtime.policy import Authority
from coriolis.runtime.secrets import Vault
from coriolis.runtime.trusts import Trusts
from coriolis.store import pulses
from coriolis.store.engine import Database
from coriolis.store.pulses import Pulse

HEALTH_PATH = "/healthcheck"


class RequestId(request_id.RequestId):
    """The contract names two headers for the same id."""

    compat_headers = ["x-compute-request-id"]


def make_app(
    settings: ApiSettings,
    db: Database,
    bus: Bus,
    vault: Vault,
    identity: IdentityFilter,
    registry: CollectorRegistry = REGISTRY,
    watch: Watch | None = None,
    trusts: Trusts | None = None,
) -> WsgiApp:
    """The REST API. ``identity``: ``runtime.identity.keystone(conf)`` or ``.local(token)``. ``watch``: one that the
    caller closes when the service stops, so that nobody waits on."""
    services = Services(
        settings=settings,
        db=db,
        bus=bus,
        vault=vault,
        authority=Authority(settings.conf, policies.list_rules()),
        catalogue=Catalogue(db, bus, timeout=settings.provider_call_timeout_seconds),
        watch=watch or make_watch(settings, db),
        rates=Rates(settings.rate_limit, settings.rate_limit_storage) if settings.rate_limit else None,
        trusts=trusts,
        description=openapi.document(ROUTES),
    )
    table = Table(ROUTES)
    app: WsgiApp = make_root(table, services)
    app = _limit_body(app, settings)
    app = _Gate(table, public=app, protected=identity(app), health=healthcheck.Healthcheck(app, settings.conf))
    app = http_proxy_to_wsgi.HTTPProxyToWSGI(app, settings.conf)
    opts.set_defaults()
    app = cors.CORS(app, settings.conf)  # does nothing unless [cors] allowed_origin is set
    app = FaultWrapper(WireCheck(app, settings.max_body_bytes))
    return RequestId(Metrics(app, registry), settings.conf)


def make_watch(settings: ApiSettings, db: Database) -> Watch:
    """What requests for events wait with."""

    def look(execution_ids: Collection[str]) -> Mapping[str, Pulse]:
        with db.reader() as conn:
            return pulses.of_executions(conn, execution_ids)

    return Watch(look, seats=settings.waiting_requests)


def _limit_body(app: WsgiApp, settings: ApiSettings) -> WsgiApp:
    limiter = sizelimit.RequestBodySizeLimiter(app, settings.conf)
    settings.conf.set_default("max_request_body_size", settings.max_body_bytes, group="oslo_middleware")
    return limiter


class _Gate:
    """Health and the public paths (the version documents) do not meet the token check; everything else does."""

    def __init__(self, table: Table, *, public: WsgiApp, protected: WsgiApp, health: WsgiApp) -> None:
        self._table = table
        self._public = public
        self._protected = protected
        self._health = health

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = path_of(environ)
        if path == HEALTH_PATH:
            return self._health(environ, start_response)
        if not self._table.is_public(path):
            return self._protected(environ, start_response)
        forget_claims(environ)
        return self._public(environ, start_response)
