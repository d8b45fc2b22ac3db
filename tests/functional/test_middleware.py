# SPDX-License-Identifier: Apache-2.0
"""What stands around the routes: CORS, proxies, metrics."""

from __future__ import annotations

from typing import Any

import pytest
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings, empty_conf
from coriolis.runtime import identity
from tests.functional.desk import PREFIX, TOKEN

ORIGIN = "https://console.example"


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    return empty_conf()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def around(conf: cfg.ConfigOpts, registry: CollectorRegistry, db: Any, bus: Any, vault: Any) -> TestApp:
    """The service with these options."""
    app = make_app(ApiSettings(conf=conf), db, bus, vault, identity.local(TOKEN), registry=registry)
    return TestApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": TOKEN})


PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-Auth-Token"}


def test_no_other_origin_unless_configured(around: TestApp) -> None:
    answers = (
        around.options("/v1", headers=PREFLIGHT, expect_errors=True),
        around.get("/v1", headers={"Origin": ORIGIN}),
    )
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


class TestConfiguredOrigin:
    @pytest.fixture
    def conf(self) -> cfg.ConfigOpts:
        conf = empty_conf()
        conf.register_opts(cors.OPTS, "cors")
        conf.set_override("allowed_origin", [ORIGIN], "cors")
        conf.set_override("allow_headers", ["X-Auth-Token"], "cors")
        return conf

    def test_preflight(self, around: TestApp) -> None:
        answer = around.options(f"{PREFIX}/migrations", headers=PREFLIGHT)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN

    def test_errors_can_be_read_by_the_console(self, around: TestApp) -> None:
        answer = around.get(f"{PREFIX}/nothing", headers={"Origin": ORIGIN}, expect_errors=True)
        assert answer.status_int == 404
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cloud.example", "X-Forwarded-Prefix": "/coriolis"}


def test_forwarded_headers_are_not_believed_unless_configured(around: TestApp) -> None:
    links = around.get("/v1", headers=FORWARDED).json["version"]["links"]
    assert links[0]["href"] == "http://localhost/v1"


class TestBehindAProxy:
    @pytest.fixture
    def conf(self) -> cfg.ConfigOpts:
        conf = empty_conf()
        conf.register_opts(http_proxy_to_wsgi.OPTS, "oslo_middleware")
        conf.set_override("enable_proxy_headers_parsing", True, "oslo_middleware")
        return conf

    def test_links_are_the_proxys(self, around: TestApp) -> None:
        links = around.get("/v1", headers=FORWARDED).json["version"]["links"]
        assert links[0]["href"] == "https://cloud.example/coriolis/v1"


def test_metrics_count_by_route(around: TestApp, registry: CollectorRegistry) -> None:
    for number in range(3):
        around.get(f"{PREFIX}/migrations/{number}", expect_errors=True)
    around.get("/secret/path", expect_errors=True)
    labels = {"method": "GET", "route": "/migrations/{migration_id}", "status": "404"}
    assert registry.get_sample_value("coriolis_api_requests_total", labels) == 3
    labels = {"method": "GET", "route": "none", "status": "404"}
    assert registry.get_sample_value("coriolis_api_requests_total", labels) == 1
    timed = {"method": "GET", "route": "/migrations/{migration_id}"}
    assert registry.get_sample_value("coriolis_api_request_seconds_count", timed) == 3
