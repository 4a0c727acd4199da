"""Queries without a transaction, connections that are trusted, and the lock that reports share."""

import threading
from collections.abc import Callable, Iterator

import pytest
from scenes import OPERATOR
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session
from support import MakeGroup, OpenRound, report_body

from service import database as databases
from service.auth import Principal
from service.database import Database
from service.dependencies import AppState
from service.rounds import repository as rounds
from service.tables import GroupRow

PATIENCE_SECONDS = 60


@pytest.fixture
def postgresql(fresh_postgres_database: str) -> Iterator[Database]:
    database = Database(fresh_postgres_database)
    yield database
    database.dispose()


def test_who_looks_keeps_no_writer_waiting_and_sees_what_was_written(database: Database) -> None:
    count = select(func.count()).select_from(GroupRow)
    with database.look() as looking:
        assert looking.scalar(count) == 0
        with database.write() as session:
            session.execute(text("INSERT INTO groups VALUES ('grp_1', 'teachers', '2030-01-01')"))
        assert looking.scalar(count) == 1


def test_a_write_session_does_nothing_before_its_transaction(database: Database) -> None:
    with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
        database.unbegun().execute(text("SELECT 1"))


@pytest.mark.parametrize("way", ["look", "read", "write"])
def test_a_connection_that_died_while_idle_is_replaced(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(databases, "_TRUSTED_SECONDS", 0.0)
    with getattr(postgresql, way)() as session:
        backend = session.scalar(select(func.pg_backend_pid()))
    with getattr(postgresql, "read" if way == "look" else "look")() as other:
        assert other.scalar(select(func.pg_terminate_backend(backend, 5000)))
    with getattr(postgresql, way)() as session:
        assert session.scalar(select(func.pg_backend_pid())) != backend


def test_a_connection_that_just_answered_is_not_asked_again(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_TRUSTED_SECONDS", float(PATIENCE_SECONDS))
    pinged: list[object] = []
    monkeypatch.setattr(postgresql.engine.dialect, "do_ping", pinged.append)
    for _ in range(3):
        with postgresql.read() as session:
            session.execute(text("SELECT 1"))
    assert pinged == []


def _lock(session: Session, round_id: str, shared: bool) -> None:
    rounds.lock_times(session, OPERATOR, round_id, shared=shared)


def test_groups_report_while_another_groups_report_is_written(
    make_group: MakeGroup, open_round: OpenRound, state: AppState
) -> None:
    if state.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    _, group = make_group("teachers")
    round_id = open_round()["id"]
    with state.database.write() as session:
        _lock(session, round_id, shared=True)
        assert group.put(f"/v1/rounds/{round_id}/report", json=report_body()).status_code == 200


def test_reports_that_come_later_do_not_pass_a_close_that_waits(
    open_round: OpenRound, state: AppState
) -> None:
    """Else those who report again and again could keep a round open."""
    if state.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    round_id, order = open_round()["id"], []

    def act(name: str, shared: bool) -> threading.Thread:
        def run() -> None:
            with state.database.write() as session:
                _lock(session, round_id, shared)
                order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with state.database.write() as session:
        _lock(session, round_id, shared=True)
        close = act("close", shared=False)
        _wait_for_waiters(state.database, 1)
        report = act("report", shared=True)
        _wait_for_waiters(state.database, 2)
        assert order == []
    close.join(PATIENCE_SECONDS)
    report.join(PATIENCE_SECONDS)
    assert order == ["close", "report"]


@pytest.mark.parametrize("lock", [rounds.lock_round, rounds.lock_times])
def test_who_reports_waits_for_whoever_may_close_the_round(
    open_round: OpenRound, state: AppState, lock: Callable[[Session, Principal, str], object]
) -> None:
    """The time is that after the wait."""
    if state.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    round_id, times = open_round()["id"], []

    def report() -> None:
        with state.database.write() as session:
            times.append(rounds.lock_times(session, OPERATOR, round_id, shared=True).now)

    thread = threading.Thread(target=report)
    with state.database.write() as session:
        lock(session, OPERATOR, round_id)
        thread.start()
        _wait_for_waiters(state.database, 1)
        ended = databases.database_now(session)
    thread.join(PATIENCE_SECONDS)
    assert times[0] > ended


def _wait_for_waiters(database: Database, count: int) -> None:
    """Until so many connections to this database wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with database.look() as session:
        while (session.scalar(waiting) or 0) < count:  # pytest's timeout ends a wait for nothing
            pass
