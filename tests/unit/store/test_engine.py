# SPDX-License-Identifier: Apache-2.0
"""Transactions, retries and clocks on SQLite."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_db import exception as db_exc
from sqlalchemy import exc as sqla_exc
from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection

from coriolis.domain.errors import Invalid
from coriolis.store import schema
from coriolis.store.engine import Clash, Database, DatabaseAway
from coriolis.store.tables import checkpoint, idempotency
from coriolis.store.types import lease_now

MOMENT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite", retry_seconds=5)
    schema.upgrade(database)
    yield database
    database.dispose()


def put(conn: Connection, key: str) -> None:
    conn.execute(insert(idempotency).values(project_id="p", key=key, request_hash="", object_id="o", created_at=MOMENT))


def keys(db: Database) -> list[str]:
    with db.reader() as conn:
        return sorted(conn.execute(select(idempotency.c.key)).scalars())


def test_a_clash_runs_the_transaction_again(db: Database) -> None:
    runs = []

    def use(conn: Connection) -> str:
        put(conn, f"key-{len(runs)}")
        runs.append(1)
        if len(runs) < 3:
            raise Clash
        return "done"

    assert db.write(use) == "done"
    assert keys(db) == ["key-2"]


def test_an_error_of_ours_is_not_tried_again(db: Database) -> None:
    runs = []

    def use(conn: Connection) -> None:
        runs.append(1)
        raise Invalid("no")

    with pytest.raises(Invalid):
        db.write(use)
    assert len(runs) == 1


def test_a_double_key_is_told_at_once(db: Database) -> None:
    db.write(put, "k")
    with pytest.raises(db_exc.DBDuplicateEntry):
        db.write(put, "k")


def test_a_lock_of_another_program_is_waited_for(tmp_path: Path, db: Database) -> None:
    other = sqlite3.connect(tmp_path / "db.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    start = time.monotonic()
    db.write(put, "k")
    assert time.monotonic() - start > 0.2
    timer.join()
    other.close()
    assert keys(db) == ["k"]


def test_conflicts_without_end_are_told(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/db.sqlite", retry_seconds=0.2)

    def use(conn: Connection) -> None:
        raise Clash

    with pytest.raises(DatabaseAway):
        db.write(use)


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/db.sqlite", retry_seconds=0.2)
    with pytest.raises(DatabaseAway):
        db.read(lambda conn: conn.execute(text("SELECT 1")))
    with pytest.raises(DatabaseAway), db.reader() as conn:
        conn.execute(text("SELECT 1"))


def test_a_wrong_statement_is_no_absence(db: Database) -> None:
    with pytest.raises((db_exc.DBError, sqla_exc.DBAPIError)), db.reader() as conn:
        conn.execute(text("SELECT nothing FROM nowhere"))


def test_threads_that_write_do_not_lose_anything(db: Database) -> None:
    def write(number: int) -> None:
        for step in range(10):
            db.write(put, f"{number}-{step}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(keys(db)) == 80


def test_the_lease_clock_is_the_databases_own(db: Database) -> None:
    with db.reader() as conn:
        found = conn.execute(select(lease_now(conn))).scalar_one()
    assert abs(found - time.time()) < 5


def test_the_lease_clock_may_be_set_by_a_test(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/db.sqlite", clock=lambda: MOMENT)
    with db.reader() as conn:
        assert conn.execute(select(lease_now(conn))).scalar_one() == MOMENT.replace(tzinfo=dt.UTC).timestamp()
    assert db.utcnow() == MOMENT


def test_statements_are_counted(db: Database) -> None:
    with db.counting() as count:
        db.write(put, "k")
        assert count() == 1
        keys(db)
        assert count() == 2


def test_foreign_keys_hold(db: Database) -> None:
    def use(conn: Connection) -> None:
        conn.execute(insert(checkpoint).values(task_id="nobody", epoch=1, value=1, updated_at=MOMENT))

    with pytest.raises(db_exc.DBReferenceError):
        db.write(use)
