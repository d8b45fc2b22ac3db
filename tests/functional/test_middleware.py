# SPDX-License-Identifier: Apache-2.0
"""What stands around the routes: CORS, proxies, metrics."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.rates import Rates, TooManyRequests
from coriolis.api.settings import ApiSettings, empty_conf
from coriolis.domain.errors import Invalid
from coriolis.runtime import identity
from coriolis.runtime.wsgi import WsgiService
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
        return conf

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
    @pytest.mark.parametrize("header", ["X-Auth-Token", "Content-Type", "Idempotency-Key", "Last-Event-ID"])
    def test_preflight(self, around: TestApp, method: str, header: str) -> None:
        """The origin is all that an operator has to write."""
        wanted = {**PREFLIGHT, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
        answer = around.options(f"{PREFIX}/migrations", headers=wanted)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert header in answer.headers["Access-Control-Allow-Headers"]
        assert method in answer.headers["Access-Control-Allow-Methods"]

    def test_another_origin_is_told_nothing(self, around: TestApp) -> None:
        answer = around.options(f"{PREFIX}/migrations", headers={**PREFLIGHT, "Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_errors_can_be_read_by_the_console(self, around: TestApp) -> None:
        answer = around.get(f"{PREFIX}/nothing", headers={"Origin": ORIGIN}, expect_errors=True)
        assert answer.status_int == 404
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-OpenStack-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


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


def limited(text: str, db: Any, bus: Any, vault: Any) -> TestApp:
    settings = ApiSettings(rate_limit=text, max_body_bytes=4096)
    app = make_app(settings, db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry())
    return TestApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": TOKEN})


def test_a_project_that_asks_too_often_is_told_when_to_come_again(db: Any, bus: Any, vault: Any) -> None:
    api = limited("3/hour; 1000/day", db, bus, vault)
    for _ in range(3):
        assert api.get(f"{PREFIX}/endpoints").status_int == 200
    answer = api.get(f"{PREFIX}/endpoints", expect_errors=True)
    assert answer.status_int == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    content = answer.json["error"]
    assert (content["code"], content["fault"]) == (429, "overLimit")
    assert content["reason"] == "coriolis.too_many_requests"
    assert "3 per 1 hour" in content["message"]
    assert TestApp(api.app).get("/v1").status_int == 200, "who is nobody yet is not counted"
    stranger = TestApp(api.app).get(f"{PREFIX}/endpoints", headers={"X-Auth-Token": "x"}, expect_errors=True)
    assert stranger.status_int == 401


def test_projects_are_counted_apart() -> None:
    rates = Rates("2/minute")
    for project in ("a", "b", "a", "b"):
        rates.count(project)
    for project in ("a", "b"):
        with pytest.raises(TooManyRequests):
            rates.count(project)


def test_no_limit_unless_configured(around: TestApp) -> None:
    for _ in range(50):
        around.get("/v1/endpoints")


@pytest.mark.parametrize(("text", "storage"), [("often", "memory://"), ("1/second", "nowhere://")])
def test_a_limit_that_is_none_is_told_at_the_start(text: str, storage: str) -> None:
    with pytest.raises(Invalid, match="cannot be used"):
        Rates(text, storage)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/endpoints", "/v1", "/nowhere"])
def test_a_body_that_is_too_large_is_told_by_its_size(db: Any, bus: Any, vault: Any, method: str, path: str) -> None:
    api = limited("", db, bus, vault)
    answer = api.request(path, method=method, body=b"x" * 5000, expect_errors=True)
    assert answer.status_int == 413
    content = answer.json["error"]
    assert (content["code"], content["fault"], content["reason"]) == (413, "overLimit", "coriolis.too_large")
    assert "5000" in content["message"]
    assert "4096" in content["message"]


def test_a_body_of_unknown_length_is_bounded_too(db: Any, bus: Any, vault: Any) -> None:
    service = WsgiService(limited("", db, bus, vault).app, address="127.0.0.1", port=0, threads=1)
    service.start()
    try:
        answer = requests.post(
            f"http://127.0.0.1:{service.port}/v1/endpoints",
            data=iter([b"x" * 1000] * 10),
            headers={"X-Auth-Token": TOKEN, "Content-Type": "application/json"},
            timeout=60,
        )
    finally:
        service.stop()
    assert answer.status_code == 413
    assert answer.json()["error"]["reason"] == "coriolis.too_large"
