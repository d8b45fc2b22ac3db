# SPDX-License-Identifier: Apache-2.0
"""Column types that mean the same on SQLite, MariaDB and PostgreSQL, and the lease clock of each."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from sqlalchemy import DateTime, Double, Float, LargeBinary, String, Text, literal
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

CLOCK = "coriolis_clock"  # execution option of a connection: the injected clock, or None


def key_type(length: int) -> TypeEngine[str]:
    """Text compared byte by byte: identifiers, states, names of code. ASCII only."""
    ascii_text = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return String(length).with_variant(ascii_text, "mysql", "mariadb")


def name_type(length: int) -> TypeEngine[str]:
    """A name given by a user or a platform: any language, compared byte by byte."""
    text = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(text, "mysql", "mariadb")


def long_text() -> TypeEngine[str]:
    """Up to 16 MiB on every database."""
    text = mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin")
    return Text().with_variant(text, "mysql", "mariadb")


def blob() -> TypeEngine[bytes]:
    """Up to 16 MiB on every database."""
    return LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


# Naive UTC with microseconds. MariaDB's plain DATETIME cuts them off.
Moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

Seconds: TypeEngine[float] = Double()


class Json(TypeDecorator[Any]):
    """A JSON value kept as text. None is SQL NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(long_text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class DatabaseNow(FunctionElement[float]):
    """Seconds since 1970 by the clock of the database, with a fraction."""

    type = Float()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(element: DatabaseNow, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseNow, "mysql")
@compiles(DatabaseNow, "mariadb")
def _mysql_now(element: DatabaseNow, compiler: Any, **kw: Any) -> str:
    return "UNIX_TIMESTAMP(NOW(6))"  # the session's time zone is set to UTC, see engine


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(element: DatabaseNow, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def lease_now(conn: Connection) -> ColumnElement[float]:
    """The only clock that leases are measured with: the database's own, or the one injected by a test."""
    clock = conn.get_execution_options().get(CLOCK)
    if clock is None:
        return DatabaseNow()
    return literal(clock().replace(tzinfo=dt.UTC).timestamp(), Double())
