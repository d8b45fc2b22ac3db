# SPDX-License-Identifier: Apache-2.0
"""Pages of random data, put together, are the whole list."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from coriolis.domain.errors import Invalid
from coriolis.store import endpoints, schema
from coriolis.store.engine import Database
from coriolis.store.paging import Page, sorting
from coriolis.store.rows import Endpoint

KEYS = ("created_at", "id", "name", "type", "updated_at")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('paging')}/db.sqlite", synchronous="OFF")
    schema.upgrade(database)
    yield database
    database.dispose()


def row(number: int, project: str, name: str, second: int, changed: int | None) -> Endpoint:
    return Endpoint(
        id=f"{project}-{number}",
        project_id=project,
        user_id="u",
        name=name,
        type="null",
        description="",
        sealed="x",
        secret_ref=None,
        mapped_regions=[],
        hidden=number % 7 == 6,
        created_at=START + dt.timedelta(seconds=second),
        updated_at=None if changed is None else START + dt.timedelta(seconds=changed),
    )


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.none() | st.integers(0, 3)), min_size=0, max_size=25
)
SORTS = st.lists(st.sampled_from(KEYS), unique=True, max_size=3).flatmap(
    lambda keys: st.tuples(
        st.just(tuple(keys)), st.lists(st.sampled_from(["asc", "desc"]), max_size=len(keys)).map(tuple)
    )
)


@given(rows=ROWS, sort=SORTS, limit=st.integers(1, 6), salt=st.integers())
def test_pages_make_the_list(db: Database, rows: list, sort: tuple, limit: int, salt: int) -> None:
    keys, dirs = sort
    project = f"p{salt}"
    made = [row(number, project, *values) for number, values in enumerate(rows)]
    page = Page(sort_keys=keys, sort_dirs=dirs)
    with db.writer() as conn:
        for one in made:
            endpoints.insert(conn, one)
        whole = endpoints.page(conn, project, page)
        pages = list(_paged(conn, project, page, limit))
        endpoints.delete(conn, [one.id for one in made])
    assert pages == whole
    assert sorted(one.id for one in whole) == sorted(one.id for one in made if not one.hidden)
    values = [tuple(_value(one, key) for key, _ in sorting(page, endpoints.ORDER)) for one in whole]
    first, direction = sorting(page, endpoints.ORDER)[0]
    column = [value[0] for value in values]
    assert column == sorted(column, reverse=direction == "desc"), first


def _paged(conn: Connection, project: str, page: Page, limit: int) -> Iterator[Endpoint]:
    marker = None
    while part := endpoints.page(conn, project, dataclasses.replace(page, marker=marker, limit=limit)):
        assert len(part) <= limit
        yield from part
        marker = part[-1].id


def _value(one: Endpoint, key: str) -> object:
    return one.updated_at or one.created_at if key == "updated_at" else getattr(one, key)


@pytest.mark.parametrize(
    ("page", "field"),
    [
        (Page(sort_keys=("colour",)), "sort_key"),
        (Page(sort_keys=("name",), sort_dirs=("up",)), "sort_dir"),
        (Page(sort_keys=("name",), sort_dirs=("asc", "desc")), "sort_dir"),
        (Page(limit=-1), "limit"),
    ],
)
def test_a_bad_page_names_its_field(db: Database, page: Page, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        db.read(endpoints.page, "p", page)
    assert caught.value.field == field


def test_an_unknown_marker_is_ignored(db: Database) -> None:
    whole = db.read(endpoints.page, "p", Page())
    assert db.read(endpoints.page, "p", Page(marker="nobody")) == whole


def test_a_limit_of_nothing(db: Database) -> None:
    assert db.read(endpoints.page, "p", Page(limit=0)) == []


def test_one_direction_is_used_for_the_rest() -> None:
    page = Page(sort_keys=("name", "type"), sort_dirs=("asc",))
    assert sorting(page, endpoints.ORDER) == [("name", "asc"), ("type", "asc"), ("created_at", "asc"), ("id", "asc")]
