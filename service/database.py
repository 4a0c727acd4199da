"""The engine, the two kinds of transaction, and the database's clock."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

if TYPE_CHECKING:  # a start on SQLite has no use for the driver, which takes a while to load
    import psycopg

# SQLite's WAL could corrupt a database up to this version (sqlite.org/wal.html, "WAL-reset bug").
_WAL_SAFE_FROM = (3, 51, 3)
_STEPS_BETWEEN_LOOKS = 100_000
"""Of SQLite's virtual machine: about a millisecond."""


class Database:
    """Opens transactions; `read()` for queries, `write()` for everything that changes rows.

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
        self._write_lock = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: commits at the end of the block, rolls back on any exception."""
        with (
            self._write_lock,
            Session(self._write_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def _postgresql_engine(url: str, statement_seconds: float | None) -> Engine:
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    if statement_seconds is not None:
        milliseconds = round(1000 * statement_seconds)

        @event.listens_for(engine, "connect")
        def configure(connection: "psycopg.Connection", _record: object) -> None:
            # Not by libpq's `options`, which would replace those of the operator's URL.
            connection.execute(f"SET statement_timeout = {milliseconds:d}")
            connection.commit()

    return engine


def _sqlite_engine(url: str, statement_seconds: float | None) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # pysqlite must not open transactions by itself
        wal = sqlite3.sqlite_version_info >= _WAL_SAFE_FROM
        connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("truthtune_immediate", False)
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
    if session.get_bind().dialect.name == "sqlite":
        text = session.scalar(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now")))
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    moment = session.scalar(select(func.clock_timestamp()))
    assert isinstance(moment, datetime)
    return moment.astimezone(UTC)


def lock_until_commit(session: Session, key: int | str) -> None:
    """Nobody else gets past here with the same number or name until the transaction ends.

    On SQLite the write transaction is the lock already.
    """
    if session.get_bind().dialect.name == "postgresql":
        number = func.hashtextextended(key, 0) if isinstance(key, str) else key
        session.execute(select(func.pg_advisory_xact_lock(number)))
