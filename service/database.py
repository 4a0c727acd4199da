"""The engine, the two kinds of transaction, and the database's clock."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:  # a start on SQLite has no use for the driver, which takes a while to load
    import psycopg

Backend = Literal["sqlite", "postgresql"]

# SQLite's WAL could corrupt a database up to this version (sqlite.org/wal.html, "WAL-reset bug").
_WAL_SAFE_FROM = (3, 51, 3)
_TRUSTED_SECONDS = 1.0
"""A connection to PostgreSQL that answered within so long is not asked whether it still does: that
would be one more way there and back for every transaction. Should the server have restarted in that
time, one request fails as it would have in its midst, and the pool is made anew."""

_POOL = {"pool_size": 15, "max_overflow": 0}
"""As many connections as SQLAlchemy's default has at most, but kept: it closes those beyond five
after every use, and under load half of all requests would open one."""

_STEPS_BETWEEN_LOOKS = 100_000
"""Of SQLite's virtual machine: about a millisecond."""


class Database:
    """Opens transactions: `read()` for queries, `write()` for whatever changes rows. `look()` opens
    none: each of its queries sees what was committed just before.

    SQLite allows one writer: `write()` takes the lock at its start (BEGIN IMMEDIATE), behind a lock
    of this process, which queues threads fairly instead of letting them poll the file's lock.
    Errors name no parameters: they are logged, and a parameter may be a sealed report. With
    `statement_seconds`, a statement that runs longer is stopped by the database, as an
    OperationalError; waiting for a lock counts on PostgreSQL (SQLite waits 30 s at most).
    """

    def __init__(self, url: str, statement_seconds: float | None = None):
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        engine_of = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self.engine = engine_of(url, statement_seconds)
        self._write_engine = self.engine.execution_options(truthtune_immediate=True)
        self._look_engine: Engine
        if self.is_sqlite:
            self._look_engine = self.engine.execution_options(truthtune_no_begin=True)
        else:
            self._look_engine = _postgresql_engine(
                url, statement_seconds, isolation_level="AUTOCOMMIT", pool_reset_on_return=None
            )
        self._write_lock = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, autoflush=False) as session:
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """Without a transaction: nothing but the queries goes to the database, and to close waits
        for nothing. They see no less of one another than PostgreSQL's READ COMMITTED shows."""
        session = self.unbegun_look()
        with self.looking(session):
            yield session

    def unbegun_look(self) -> Session:
        """For `looking`, which opens it; until then it refuses every query."""
        return Session(self._look_engine, autoflush=False, autobegin=False)

    @contextmanager
    def looking(self, session: Session) -> Iterator[None]:
        """`look()`, with a session that others hold already."""
        with session:
            session.begin()
            yield

    def look_once(self) -> Connection:
        """For one statement of every request: without a session, which takes as long again."""
        return self._look_engine.connect()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: commits at the end of the block, rolls back on any exception."""
        session = self.unbegun()
        with self.begun(session):
            yield session

    def unbegun(self) -> Session:
        """For `begun`, which opens it; until then it refuses every statement."""
        return Session(self._write_engine, expire_on_commit=False, autobegin=False)

    @contextmanager
    def begun(self, session: Session) -> Iterator[None]:
        """The transaction of `write()`, in a session that others hold already."""
        with self._write_lock, session, session.begin():
            yield

    def dispose(self) -> None:
        self.engine.dispose()
        self._look_engine.dispose()


def _postgresql_engine(url: str, statement_seconds: float | None, **options: Any) -> Engine:
    engine = create_engine(url, hide_parameters=True, **_POOL, **options)
    _ping_after_idling(engine)
    if statement_seconds is not None:
        milliseconds = round(1000 * statement_seconds)

        @event.listens_for(engine, "connect")
        def configure(connection: "psycopg.Connection", _record: object) -> None:
            # Not by libpq's `options`, which would replace those of the operator's URL.
            connection.execute(f"SET statement_timeout = {milliseconds:d}")
            connection.commit()

    return engine


def _ping_after_idling(engine: Engine) -> None:
    """What `pool_pre_ping` does, but for connections that have just answered."""
    last_use = "truthtune_last_use"

    @event.listens_for(engine, "checkin")
    def note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[last_use] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _fairy: object) -> None:
        idle = time.monotonic() - record.info.pop(last_use, time.monotonic())
        if idle > _TRUSTED_SECONDS and not _answers(engine, connection):
            raise InvalidatePoolError  # the pool opens another


def _answers(engine: Engine, connection: DBAPIConnection) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False


def _sqlite_engine(url: str, statement_seconds: float | None) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30}, hide_parameters=True, **_POOL)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # pysqlite must not open transactions by itself
        wal = sqlite3.sqlite_version_info >= _WAL_SAFE_FROM
        connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("truthtune_no_begin", False):
            immediate = options.get("truthtune_immediate", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    if statement_seconds is not None:
        _stop_statements_after(engine, statement_seconds)
    return engine


def _stop_statements_after(engine: Engine, seconds: float) -> None:
    """What PostgreSQL's `statement_timeout` does; SQLite asks every so many of its steps."""

    @event.listens_for(engine, "before_cursor_execute")
    def start(connection: Connection, *_: object) -> None:
        deadline = time.monotonic() + seconds
        connection.connection.driver_connection.set_progress_handler(  # type: ignore[union-attr]
            lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS
        )


def database_now(session: Session) -> datetime:
    """The database's clock, in UTC: deadlines and leases are judged by it alone.

    Read anew at every call, not once a transaction, so that waiting for a lock can't stop time.
    """
    return moment_of(session.scalar(select(clock_of(backend_of(session)))))


def backend_of(session: Session) -> Backend:
    return "sqlite" if session.get_bind().dialect.name == "sqlite" else "postgresql"


def clock_of(backend: Backend) -> ColumnElement[Any]:
    """The clock as a column, for a statement that reads it along with rows; see `moment_of`."""
    if backend == "sqlite":
        return func.strftime("%Y-%m-%dT%H:%M:%f", "now")
    return func.clock_timestamp()


def moment_of(clock: datetime | str | None) -> datetime:
    """What `clock_of` was read to say."""
    if isinstance(clock, str):  # SQLite's, which knows no zone
        return datetime.fromisoformat(clock).replace(tzinfo=UTC)
    assert clock is not None
    return clock.astimezone(UTC)


def lock_until_commit(session: Session, key: int | str, *, shared: bool = False) -> None:
    """Nobody else gets past here with the same number or name until the transaction ends; if
    `shared`, nobody but others who share it. They are let in as they come, so that those who share
    can't keep one out who doesn't.

    On SQLite the write transaction is the lock already.
    """
    if backend_of(session) == "postgresql":
        lock = _advisory_lock(isinstance(key, str), shared)
        session.connection().execute(lock, {"key": key})


@cache
def _advisory_lock(named: bool, shared: bool) -> Select[Any]:
    lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    key = bindparam("key", type_=Text if named else BigInteger)
    return select(lock(func.hashtextextended(key, 0) if named else key))
