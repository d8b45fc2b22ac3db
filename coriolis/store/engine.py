# SPDX-License-Identifier: Apache-2.0
"""The door to the database: transactions, retry on conflict, clock, statement counter."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tenacity
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import exc_filters
from prometheus_client import Counter
from sqlalchemy import create_engine, event
from sqlalchemy import exc as sqla_exc
from sqlalchemy.engine import Connection, Engine, make_url

from coriolis.domain.errors import CoriolisError, Unavailable
from coriolis.store.types import CLOCK

T = TypeVar("T")
STATEMENTS = Counter("coriolis_sql_statements_total", "SQL statements of this process; an executemany is one.")
Clock = Callable[[], dt.datetime]

_WRITES = "coriolis_writes"  # execution option of a connection


class Clash(Exception):
    """Somebody else changed a row that this transaction decided on: roll back and decide again."""


class DatabaseAway(Unavailable):
    """The database cannot be reached, or conflicts do not end."""

    code = "coriolis.database_away"


def utc_now() -> dt.datetime:
    """Naive UTC, as rows and the wire have it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


# SQLSTATE classes and codes of PostgreSQL that mean "again": serialization, deadlock, lock not available,
# connection lost, server going down or coming up.
_AGAIN_SQLSTATE = ("40001", "40P01", "55P03", "08", "57P0")
# MariaDB: deadlock, lock wait, record changed since the snapshot, Galera node not ready, server gone.
_AGAIN_MARIADB = {1213, 1205, 1020, 1047, 1053, 1927, 2003, 2006, 2013, 2055}
_AGAIN_SQLITE = ("database is locked", "database table is locked", "database is busy")


# Without a number of their own. A timeout: no connection came free.
_AGAIN = (Clash, DatabaseAway, sqla_exc.TimeoutError, db_exc.DBDeadlock, db_exc.DBConnectionError)
_REFERENCE_TRIES = 3
_OF_THE_DATABASE = (db_exc.DBError, sqla_exc.DBAPIError, sqla_exc.TimeoutError)


def _again(error: BaseException) -> bool:
    """True when the same transaction may succeed if it is run once more."""
    if isinstance(error, _AGAIN):
        return True
    if isinstance(error, db_exc.DBError):
        error = error.inner_exception or error
    if not isinstance(error, sqla_exc.DBAPIError):
        return False
    if error.connection_invalidated or error.statement is None:  # lost, or not even opened
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_AGAIN_SQLSTATE)
    number = next(iter(getattr(error.orig, "args", ())), None)
    return number in _AGAIN_MARIADB or str(error.orig).startswith(_AGAIN_SQLITE)


def _decides_again(state: tenacity.RetryCallState) -> bool:
    """Also after a reference to nothing: somebody removed the row meanwhile, or made one that leads to the row that was
    to be removed; a new look finds that. Where it is found again and again, it is a mistake of ours."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, db_exc.DBReferenceError):
        return state.attempt_number < _REFERENCE_TRIES
    return error is not None and _again(error)


class Database:
    """One database, for all threads of a process.

    ``clock`` replaces, for tests only, both the process clock and the database's lease clock. ``retry_seconds``
    bounds how long a transaction that meets a conflict or a lost server is tried again.
    ``synchronous`` is SQLite's: FULL survives a power cut, NORMAL only a killed process.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = 10,
        retry_seconds: float = 60.0,
        synchronous: str = "FULL",
    ) -> None:
        self.url = make_url(url)
        self.retry_seconds = retry_seconds
        self.utcnow: Clock = clock or utc_now
        self.engine = _engine(url, pool_size)
        # SQLite lets waiting writers sleep and poll; in one process a plain lock hands over at once.
        self._turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self.engine.dialect.name == "sqlite":
            self._turn = threading.RLock()
            _speak_sqlite(self.engine, synchronous)
        elif self.engine.dialect.name in ("mysql", "mariadb"):
            _speak_mariadb(self.engine)
        exc_filters.register_engine(self.engine)
        self._count = itertools.count()
        self.statements = 0
        event.listen(self.engine, "before_cursor_execute", self._counted)
        self._reads = self.engine.execution_options(**{CLOCK: clock})
        self._writes = self.engine.execution_options(**{CLOCK: clock, _WRITES: True})

    def _counted(self, *_: Any) -> None:
        self.statements = next(self._count) + 1
        STATEMENTS.inc()

    @contextlib.contextmanager
    def writer(self) -> Iterator[Connection]:
        """One transaction that may write: commits at the end, rolls back on any exception. Not retried."""
        with self._turn, self._writes.begin() as conn:
            yield conn

    @contextlib.contextmanager
    def reader(self) -> Iterator[Connection]:
        """One transaction that only reads. Not retried.

        :raises DatabaseAway: the server cannot be reached, or goes away meanwhile
        """
        try:
            with self._reads.begin() as conn:
                yield conn
        except _OF_THE_DATABASE as error:
            if not _again(error):
                raise
            raise _away(error) from error

    def write(self, use: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Runs ``use(conn, ...)`` in one transaction, again after a conflict or a lost connection.

        ``use`` has to bear being run again even though an earlier run was committed: a connection may be lost
        after the commit and before its answer. Conditional updates give that.
        :raises DatabaseAway: ``retry_seconds`` are over
        """
        return self._tried(self.writer, use, args, kwargs)

    def read(self, use: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """As ``write``, for a transaction that only reads."""
        return self._tried(self.reader, use, args, kwargs)

    def _tried(self, opened: Any, use: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        def once() -> T:
            with opened() as conn:
                return use(conn, *args, **kwargs)

        retrying = tenacity.Retrying(
            retry=_decides_again,
            wait=tenacity.wait_random_exponential(multiplier=0.005, max=2.0),
            stop=tenacity.stop_after_delay(self.retry_seconds),
            reraise=True,
        )
        try:
            return retrying(once)
        except CoriolisError:
            raise
        except (Clash, *_OF_THE_DATABASE) as error:
            if not _again(error):
                raise
            raise _away(error) from error

    @contextlib.contextmanager
    def counting(self) -> Iterator[Callable[[], int]]:
        """Counts the statements (an executemany is one) of all threads: ``with db.counting() as count: ...``"""
        start = self.statements
        yield lambda: self.statements - start

    def dispose(self) -> None:
        """Closes all connections that are not in use."""
        self.engine.dispose()


def _away(error: Exception) -> DatabaseAway:
    return DatabaseAway(f"The database does not answer: {type(error).__name__}. Try again later.")


def _engine(url: str, pool_size: int) -> Engine:
    parsed = make_url(url)
    if parsed.drivername == "mysql":
        parsed = parsed.set(drivername="mysql+pymysql")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 20, "pool_recycle": 3600}
    if parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": 30}
    else:
        options["isolation_level"] = "READ COMMITTED"  # a re-read after a lock sees what the other one committed
    return create_engine(parsed, **options)


def _speak_sqlite(engine: Engine, synchronous: str) -> None:
    """WAL, foreign keys, and our own BEGIN: a writer takes the write lock at its start and so never has to upgrade,
    which SQLite refuses without waiting."""

    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver must not begin by itself
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "cache_size=-32768"):
            dbapi_connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begun(conn: Connection) -> None:
        writes = conn.get_execution_options().get(_WRITES)
        conn.connection.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN").close()


def _speak_mariadb(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = 'TRADITIONAL'")
