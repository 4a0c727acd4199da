"""The engine, the two kinds of transaction, and the database's clock."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

# SQLite's WAL could corrupt a database up to this version (sqlite.org/wal.html, "WAL-reset bug").
_WAL_SAFE_FROM = (3, 51, 3)


class Database:
    """Opens transactions; `read()` for queries, `write()` for everything that changes rows.

    SQLite allows one writer: `write()` takes the lock at its start (BEGIN IMMEDIATE), behind a lock
    of this process, which queues threads fairly instead of letting them poll the file's lock.
    Errors name no parameters: they are logged, and a parameter may be a sealed report.
    """

    def __init__(self, url: str):
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = (
            _sqlite_engine(url)
            if self.is_sqlite
            else create_engine(url, pool_pre_ping=True, hide_parameters=True)
        )
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


def _sqlite_engine(url: str) -> Engine:
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

    return engine


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
