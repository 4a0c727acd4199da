"""The queue and its leases: one holder at a time, and nothing written by a former one."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from scenes import (
    DIGEST,
    LEASE_SECONDS,
    add_closed_round,
    add_groups,
    claim,
    event_types,
    let_leases_expire,
    queue_job,
)
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from support import VAULT

from api_schemas.jobs import ProgressEvent
from api_schemas.rounds import RoundFailure
from service.database import Database
from service.jobs import leases, queue
from service.jobs.leases import Claim, LeaseLost
from service.rounds import lifecycle
from service.tables import JobEventRow, JobRow, JobStageRow, RoundRow

FAILURE = RoundFailure(code="empty_pool", message="there is nothing to choose from")


def test_a_claim_takes_the_oldest_job_and_its_round_runs(database: Database) -> None:
    _, oldest = queue_job(database), queue_job(database)
    with database.write() as session:
        session.get_one(JobRow, oldest).created_at -= timedelta(seconds=1)
    held = claim(database)
    assert held.job_id == oldest
    assert held.attempt == 1
    assert held.digests == {}
    assert [report.size for report in held.job.reports] == [1, 2, 3]
    job, round_ = _rows(database, oldest)
    assert (job.status, round_.state) == ("running", "running")
    assert event_types(database, oldest) == ["job_queued", "job_claimed"]


def test_a_held_job_is_not_claimed_twice(database: Database) -> None:
    queue_job(database)
    claim(database)
    assert _try_claim(database, "second") is None


def test_concurrent_claims_never_share_a_job(database: Database) -> None:
    jobs = {queue_job(database) for _ in range(3)}
    claimed: list[Claim | None] = []
    threads = [
        threading.Thread(target=lambda n=n: claimed.append(_try_claim(database, f"owner {n}")))
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # On PostgreSQL a claim may pass over a row that another holds at that moment, and find none.
    held = [found.job_id for found in claimed if found is not None]
    assert len(claimed) == 5
    assert len(held) == len(set(held))
    while (found := _try_claim(database, "rest")) is not None:
        held.append(found.job_id)
    assert sorted(held) == sorted(jobs)


def test_an_expired_lease_lets_another_coordinator_go_on(database: Database) -> None:
    job_id = queue_job(database)
    first = claim(database)
    _finish_first_stage(database, first)
    let_leases_expire(database)
    second = claim(database, "second")
    assert second.job_id == job_id
    assert second.token > first.token
    assert second.attempt == 2
    assert second.digests == {"fit_rewards": DIGEST}


WRITES: dict[str, Callable[[Session, Claim], object]] = {
    "heartbeat": lambda session, held: leases.heartbeat(session, held, LEASE_SECONDS),
    "record": lambda session, held: leases.record(
        session, held, ProgressEvent(type="warning", message="late")
    ),
    "start_stage": lambda session, held: leases.start_stage(session, held, "score"),
    "finish_stage": lambda session, held: leases.finish_stage(session, held, "score", DIGEST),
    "begin_settlement": leases.begin_settlement,
    "succeed": leases.succeed,
    "fail": lambda session, held: leases.fail(session, held, FAILURE),
    "cancel": leases.cancel,
    "release": lambda session, held: leases.release(session, held, 0, counts=True),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_former_holder_can_write_nothing(
    database: Database, write: Callable[[Session, Claim], object]
) -> None:
    job_id = queue_job(database)
    former = claim(database)
    let_leases_expire(database)
    holder = claim(database, "second")
    before = event_types(database, job_id)
    with pytest.raises(LeaseLost), database.write() as session:
        write(session, former)
    job, round_ = _rows(database, job_id)
    assert (job.status, job.lease_owner, job.fencing_token) == ("running", "second", holder.token)
    assert round_.state == "running"
    assert event_types(database, job_id) == before


def test_a_heartbeat_outlives_the_lease_it_renews(database: Database) -> None:
    job_id = queue_job(database)
    held = claim(database)
    let_leases_expire(database)
    with database.write() as session:
        assert leases.heartbeat(session, held, LEASE_SECONDS) is False
    assert _try_claim(database, "second") is None
    assert _rows(database, job_id)[0].lease_owner == "first"


def test_a_job_that_kills_its_coordinators_fails_in_the_end(database: Database) -> None:
    job_id = queue_job(database)
    for _ in range(3):
        claim(database)
        let_leases_expire(database)
    assert _try_claim(database, "fourth") is None
    job, round_ = _rows(database, job_id)
    assert (job.status, round_.state) == ("failed", "failed")
    assert job.error is not None
    assert job.error["code"] == "too_many_attempts"
    assert round_.failure == job.error
    assert event_types(database, job_id)[-1] == "job_failed"


def test_a_job_beyond_its_attempts_does_not_block_the_next(database: Database) -> None:
    queue_job(database)
    for _ in range(3):
        claim(database)
        let_leases_expire(database)
    following = queue_job(database)
    assert claim(database).job_id == following


def test_a_job_that_cannot_be_read_fails_and_does_not_block_the_next(database: Database) -> None:
    unreadable = queue_job(database)
    with database.write() as session:
        session.execute(update(JobRow).values(input={"from": "another version"}))
    following = queue_job(database)
    assert claim(database).job_id == following
    job, _ = _rows(database, unreadable)
    assert job.error is not None
    assert job.error["code"] == "unreadable_job"


def test_a_released_job_can_be_claimed_at_once_and_costs_no_attempt(database: Database) -> None:
    queue_job(database)
    first = claim(database)
    with database.write() as session:
        leases.release(session, first, 0, counts=False)
    second = claim(database, "second")
    assert (second.job_id, second.attempt) == (first.job_id, 1)


def test_a_job_released_for_later_is_left_alone_till_then(database: Database) -> None:
    queue_job(database)
    held = claim(database)
    with database.write() as session:
        leases.release(session, held, 60, counts=True)
    assert _try_claim(database, "second") is None
    let_leases_expire(database)
    assert claim(database, "second").attempt == 2


def test_a_failure_ends_job_and_round_with_its_reason(database: Database) -> None:
    job_id = queue_job(database)
    held = claim(database)
    with database.write() as session:
        leases.fail(session, held, FAILURE)
    job, round_ = _rows(database, job_id)
    assert (job.status, round_.state) == ("failed", "failed")
    assert job.error == round_.failure == FAILURE.model_dump()
    assert job.finished_at is not None
    assert _try_claim(database, "second") is None


def test_a_cancelled_round_stays_cancelled_whatever_its_job_comes_to(database: Database) -> None:
    job_id = queue_job(database)
    held = claim(database)
    with database.write() as session:
        _, round_ = _rows_in(session, job_id)
        lifecycle.cancel(session, round_)
    with database.write() as session:
        leases.fail(session, held, FAILURE)
    job, round_ = _rows(database, job_id)
    assert (job.status, round_.state, round_.failure) == ("failed", "cancelled", None)


def test_a_held_job_is_asked_to_stop_and_a_waiting_one_is_cancelled(database: Database) -> None:
    held_id = queue_job(database)
    held = claim(database)
    waiting_id = queue_job(database)
    for job_id in (held_id, waiting_id):
        with database.write() as session:
            queue.cancel_job_of(session, _rows_in(session, job_id)[0].round_id)
    assert _rows(database, held_id)[0].status == "running"
    assert _rows(database, waiting_id)[0].status == "cancelled"
    with database.write() as session:
        assert leases.heartbeat(session, held, LEASE_SECONDS) is True


def test_a_cancellation_that_a_dead_coordinator_missed_is_granted_by_the_next(
    database: Database,
) -> None:
    job_id = queue_job(database)
    claim(database)
    with database.write() as session:
        queue.cancel_job_of(session, _rows_in(session, job_id)[0].round_id)
    let_leases_expire(database)
    assert _try_claim(database, "second") is None
    job, round_ = _rows(database, job_id)
    assert (job.status, round_.state) == ("cancelled", "failed")
    assert round_.failure is not None
    assert round_.failure["code"] == "job_cancelled"


def test_a_stage_that_died_starts_anew_and_its_time_is_the_last_attempts(
    database: Database,
) -> None:
    job_id = queue_job(database)
    held = claim(database)
    for _ in range(2):
        with database.write() as session:
            leases.start_stage(session, held, "fit_rewards")
    with database.write() as session:
        leases.finish_stage(session, held, "fit_rewards", DIGEST)
    with database.read() as session:
        stage = session.get_one(JobStageRow, (job_id, "fit_rewards"))
        started = session.scalars(
            select(JobEventRow.created_at)
            .where(JobEventRow.type == "stage_started")
            .order_by(JobEventRow.sequence)
        ).all()
    assert stage.started_at == started[1]
    assert stage.digest == DIGEST


def test_a_round_has_one_job(database: Database) -> None:
    with database.write() as session:
        round_id = add_closed_round(session, add_groups(session, 1))
        job = leases.claim(session, VAULT, "first", LEASE_SECONDS, 3)
        assert job is not None
        assert job.job.round_id == round_id
    with pytest.raises(Exception, match=r"(?i)unique"), database.write() as session:
        queue.enqueue(session, job.job)


def _finish_first_stage(database: Database, held: Claim) -> None:
    with database.write() as session:
        leases.start_stage(session, held, "fit_rewards")
        leases.finish_stage(session, held, "fit_rewards", DIGEST)


def _try_claim(database: Database, owner: str) -> Claim | None:
    with database.write() as session:
        return leases.claim(session, VAULT, owner, LEASE_SECONDS, max_attempts=3)


def _rows(database: Database, job_id: str) -> tuple[JobRow, RoundRow]:
    with database.read() as session:
        return _rows_in(session, job_id)


def _rows_in(session: Session, job_id: str) -> tuple[JobRow, RoundRow]:
    job = session.get_one(JobRow, job_id)
    return job, session.get_one(RoundRow, job.round_id)
