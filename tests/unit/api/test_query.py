# SPDX-License-Identifier: Apache-2.0
"""Query strings, pages and table lookups."""

from __future__ import annotations

import pytest

from coriolis.api.dispatch import MethodNotAllowed, Table
from coriolis.api.paging import page
from coriolis.api.request import Query
from coriolis.api.routes import ROUTES
from coriolis.domain.errors import Invalid, NotFound


@pytest.mark.parametrize(
    ("text", "keys", "directions"),
    [
        ("", (), ()),
        ("sort_key=a", ("a",), ("desc",)),
        ("sort_dir=asc", (), ("asc",)),
        ("sort_key=a&sort_key=b&sort_dir=asc", ("a", "b"), ("asc", "asc")),
        ("sort_keys=a,b&sort_dirs=asc,DESC", ("a", "b"), ("asc", "desc")),
    ],
)
def test_sorting(text: str, keys: tuple[str, ...], directions: tuple[str, ...]) -> None:
    wanted = page(Query(text))
    assert (wanted.sort_keys, wanted.sort_dirs) == (keys, directions)


@pytest.mark.parametrize(
    ("text", "limit", "bounded"),
    [("", None, 100), ("limit=", None, 100), ("limit=5", 5, 5), ("limit=0", 0, 0), ("limit=101", 101, 100)],
)
def test_limits(text: str, limit: int | None, bounded: int) -> None:
    assert page(Query(text)).limit == limit
    assert page(Query(text), most=100).limit == bounded


@pytest.mark.parametrize(
    "text", ["limit=-1", "limit=a", "limit=1e3", "limit=" + "9" * 40, "sort_dir=x", "sort_key=a&sort_dir=asc,asc"]
)
def test_bad_pages(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        page(Query(text))
    assert caught.value.field in ("limit", "sort_dir")


@pytest.mark.parametrize("text", ["a=%ff", "a=%00", "\xff=1", "&".join("a=1" for _ in range(300))])
def test_bad_queries(text: str) -> None:
    with pytest.raises(Invalid):
        Query(text)


def test_values() -> None:
    query = Query("a=1&a=2&flag=Yes&other=No&odd=maybe&name=%C3%A4&raw=" + "\u00e4".encode().decode("latin-1"))
    assert (query.one("a"), query.one("b"), query.one("name"), query.one("raw")) == ("2", None, "\u00e4", "\u00e4")
    assert query.flag("flag") is True
    assert query.flag("other", default=True) is False
    assert query.flag("odd", default=True) is True
    assert query.flag("absent") is False


TABLE = Table(ROUTES)


@pytest.mark.parametrize(
    ("path", "template", "project", "params"),
    [
        (
            "/v1/p/endpoints/e/instances/aa==",
            "/endpoints/{endpoint_id}/instances/{instance}",
            "p",
            {"endpoint_id": "e", "instance": "aa=="},
        ),
        ("/v1/endpoints/e.json", "/endpoints/{endpoint_id}", None, {"endpoint_id": "e"}),
        ("/v1/p/migrations/detail", "/migrations/detail", "p", {}),
        ("/v1/migrations/endpoints/tasks/", "/migrations/{migration_id}/tasks", None, {"migration_id": "endpoints"}),
        ("/v1", "/v1", None, {}),
        ("/", "/", None, {}),
    ],
)
def test_lookup(path: str, template: str, project: str | None, params: dict[str, str]) -> None:
    found = TABLE.find("GET", path)
    assert (found.route.path, found.project_id, dict(found.params)) == (template, project, params)


@pytest.mark.parametrize(
    "path", ["/v1/p", "/v1/p/endpoints//instances", "/v1//endpoints", "/v2/p/endpoints", "//", "/v1/p/q/endpoints"]
)
def test_lookup_of_nothing(path: str) -> None:
    if path == "//":
        assert TABLE.find("GET", path).route.path == "/"
        return
    with pytest.raises((NotFound, MethodNotAllowed)):
        TABLE.find("GET", path)


def test_routes_are_distinct_and_described() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))
    for route in ROUTES:
        assert route.summary
        assert route.path.startswith("/")
        assert (route.schema is not None) == (route.method in ("POST", "PUT"))
