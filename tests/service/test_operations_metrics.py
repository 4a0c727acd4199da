"""What /metrics tells of rounds, jobs and messages, to whom, and that none of it is of reports."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scenes import (
    DIGEST,
    add_closed_round,
    add_groups,
    claim,
    let_leases_expire,
    queue_job,
    settle_next,
)
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, report_body
from webhook_scenes import own_endpoint, tell

import service.operations.figures as figures_module
from api_schemas.jobs import STAGES
from service.database import Database, database_now
from service.dependencies import AppState
from service.jobs import attempts, leases
from service.operations import repository
from service.operations.figures import FRESH_SECONDS, Figures, OperationsMetrics
from service.operations.repository import BUCKETS_SECONDS, SHOWN_STATES, Backlog
from service.tables import JobRow, JobStageRow, RoundRow, WebhookEndpointRow, WebhookMessageRow

NONE = Backlog(0, 0.0)
START = datetime(2030, 1, 1, tzinfo=UTC)
OF_THE_OPERATOR = {
    "truthtune_stage_tokens",
    "truthtune_stage_token_seconds",
    "truthtune_job_attempts_failed",
    "truthtune_webhook_messages_pending",
    "truthtune_webhook_messages_overdue_seconds",
    "truthtune_last_round_welfare",
    "truthtune_last_round_divergence",
    "truthtune_last_round_settled_timestamp_seconds",
}


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape looks at the database anew."""
    monkeypatch.setattr(figures_module, "FRESH_SECONDS", 0.0)


def read(database: Database) -> Figures:
    with database.read() as session:
        return Figures.read(session)


def scraped(client: TestClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by the family's name and the labels' values, without those of HTTP."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        family.name: {
            (sample.name, *sample.labels.values()): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.text)
        if not family.name.startswith("truthtune_http")
    }


def test_rounds_are_counted_by_state_and_drafts_are_not(database: Database) -> None:
    queue_job(database)
    with database.write() as session:
        (group_id,) = add_groups(session, 1)
        cancelled_draft = add_closed_round(session, [group_id])
        row = session.get_one(RoundRow, cancelled_draft)
        row.state, row.opened_at = "cancelled", None
    assert read(database).rounds == {"closed": 1}


def test_an_open_round_past_its_deadline_is_overdue(database: Database) -> None:
    with database.write() as session:
        (group_id,) = add_groups(session, 1)
        for seconds in (-3600, 90, 30):
            row = session.get_one(RoundRow, add_closed_round(session, [group_id]))
            row.state, row.closes_at = "open", database_now(session) - timedelta(seconds=seconds)
    overdue = read(database).overdue
    assert overdue.waiting == 2
    assert 90 <= overdue.seconds < 120


def test_a_queued_job_has_waited_since_it_was_queued_the_last_time(database: Database) -> None:
    first, second = queue_job(database), queue_job(database)
    with database.write() as session:
        past = database_now(session) - timedelta(hours=1)
        session.execute(update(JobRow).where(JobRow.id == first).values(created_at=past))
    queued = read(database).queued
    assert queued["audit"] == queued["quote"] == NONE
    assert queued["round"].waiting == 2
    assert queued["round"].seconds < 60, "its row is older, the event of its queueing is not"
    claim(database), claim(database)
    assert read(database).queued["round"] == NONE
    assert second != first


def test_a_taken_job_is_held_then_lost_and_between_attempts_after_a_fault(
    database: Database,
) -> None:
    queue_job(database)
    held = claim(database)
    assert read(database).running == {("round", "held"): 1}
    let_leases_expire(database)
    assert read(database).running == {("round", "lost"): 1}
    with database.write() as session:
        attempts.end_attempt(session, held, MemoryError("in a worker"), max_attempts=3)
    found = read(database)
    assert found.running == {("round", "between_attempts"): 1}
    assert found.failed_attempts == {"out_of_memory": 1}


def test_stages_durations_fall_into_their_buckets_with_their_tokens(database: Database) -> None:
    """1 s and 61 s of `train`, the latter with 600 tokens; an unfinished run counts for nothing."""
    jobs = [queue_job(database) for _ in range(3)]
    with database.write() as session:
        for job_id, seconds, tokens in zip(jobs, (1, 61, None), (None, 600, None), strict=True):
            end = None if seconds is None else START + timedelta(seconds=seconds)
            session.add(_stage(job_id, "train", end, tokens))
        session.add(_stage(jobs[0], "publish", START, None))  # of other kinds of job
    by_stage = {each.stage: each for each in read(database).stages}
    assert list(by_stage) == list(STAGES)
    train = by_stage.pop("train")
    assert (train.finished, train.tokens) == (2, 600)
    assert train.seconds == pytest.approx(62, abs=1e-3)
    assert train.token_seconds == pytest.approx(61, abs=1e-3)
    within = [(0 if bound < 1 else 1) + (bound > 61) for bound in BUCKETS_SECONDS]
    assert list(train.at_most) == within
    assert all(each.finished == 0 for each in by_stage.values())


def test_a_finished_stage_keeps_the_tokens_that_it_counted(database: Database) -> None:
    queue_job(database)
    held = claim(database)
    with database.write() as session:
        leases.start_stage(session, held, "sample_pool")
        leases.finish_stage(session, held, "sample_pool", DIGEST, tokens=960)
    (sampled,) = (each for each in read(database).stages if each.stage == "sample_pool")
    assert sampled.tokens == 960


def test_messages_wait_in_the_outbox_but_those_about_jobs_tell_of_nothing(
    database: Database,
) -> None:
    endpoint = own_endpoint(database, "http://127.0.0.1:1/hook")
    tell(database, 2)
    with database.write() as session:
        past = database_now(session) - timedelta(seconds=50)
        session.execute(update(WebhookMessageRow).values(next_attempt_at=past))
    late = read(database).messages
    assert late.waiting == 2
    assert 50 <= late.seconds < 80
    with database.write() as session:
        later = database_now(session) + timedelta(hours=1)
        session.get_one(WebhookEndpointRow, endpoint.id).paused_until = later
    assert read(database).messages == Backlog(2, 0.0), "as its receiver asked"
    with database.write() as session:
        _retype_messages(session, "job.succeeded")
    assert read(database).messages == NONE


def test_reports_and_what_is_made_for_them_change_no_figure_not_even_the_operators(
    look: None,
    operator: TestClient,
    client: TestClient,
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
) -> None:
    round_id = open_round()["id"]
    own_endpoint(state.database, "http://127.0.0.1:1/hook")
    _, teachers = make_group("teachers")
    own_endpoint(state.database, "http://127.0.0.1:1/hook", _owner(teachers))
    before = scraped(operator), scraped(client)
    url = f"/v1/rounds/{round_id}/report"
    assert teachers.put(url, json=report_body()).status_code == 200
    assert teachers.post(f"{url}/preview", json=report_body()).status_code == 202
    asked = {"name": "Spring", "reward_model": report_body()["reward_model"]}
    assert teachers.post("/v1/reward-models", json=asked).status_code == 201
    assert (scraped(operator), scraped(client)) == before
    for _ in range(2):
        held = claim(state.database)
        assert (scraped(operator), scraped(client)) == before
        with state.database.write() as session:
            attempts.end_attempt(session, held, MemoryError(), max_attempts=1)
        assert (scraped(operator), scraped(client)) == before


def test_without_the_operators_key_nothing_is_told_that_a_group_may_not_see(
    look: None,
    operator: TestClient,
    client: TestClient,
    make_group: MakeGroup,
    state: AppState,
) -> None:
    _settle(state)
    anyone, group, own = (scraped(each) for each in (client, make_group("new")[1], operator))
    assert anyone.keys() == group.keys()
    assert own.keys() - anyone.keys() == OF_THE_OPERATOR
    kinds = {labels[1] for labels in anyone["truthtune_jobs_queued"]}
    assert kinds == {"round"}
    operators = {"audit", "quote", "corpus", "base_model", "evaluation"}
    assert {labels[1] for labels in own["truthtune_jobs_queued"]} == {"round"} | operators


def test_the_welfare_is_that_of_the_round_settled_last(
    look: None, operator: TestClient, state: AppState
) -> None:
    assert "truthtune_last_round_welfare" not in scraped(operator)
    round_id = _settle(state)
    found = scraped(operator)
    values = {labels[1]: value for labels, value in found["truthtune_last_round_welfare"].items()}
    assert values == {"initial": 1.0, "tuned": 2.0, "optimum": 2.0}
    with state.database.read() as session:
        settled_at = session.get_one(RoundRow, round_id).settled_at
    (moment,) = found["truthtune_last_round_settled_timestamp_seconds"].values()
    assert settled_at is not None
    assert moment == pytest.approx(settled_at.timestamp(), abs=1e-3)
    states = found["truthtune_rounds"]
    assert [states["truthtune_rounds", state] for state in SHOWN_STATES] == [0, 0, 0, 1, 0, 0]


def test_a_key_that_is_none_is_refused_so_that_the_scrape_is_seen_to_fail(
    client: TestClient,
) -> None:
    refused = client.get("/metrics", headers={"Authorization": "Bearer tt_op_wrong"})
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")


def test_several_scrapes_within_seconds_cost_one_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    monkeypatch.setattr(
        repository, "count_rounds", lambda session: {"open": looks.append(session) or len(looks)}
    )
    now = [0.0]
    metrics = OperationsMetrics(clock=lambda: now[0])
    texts = []
    for seconds in (0.0, FRESH_SECONDS - 0.1, FRESH_SECONDS):
        now[0] = seconds
        texts.append(metrics.text(database, for_operator=False))
    assert len(looks) == 2
    assert texts[0] == texts[1] != texts[2]


def test_of_a_database_that_is_away_nothing_else_is_told(
    look: None, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_session: Session) -> None:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection"))

    assert scraped(client)["truthtune_database_up"] == {("truthtune_database_up",): 1.0}
    monkeypatch.setattr(repository, "count_rounds", fail)
    assert scraped(client) == {"truthtune_database_up": {("truthtune_database_up",): 0.0}}


def _settle(state: AppState) -> str:
    queue_job(state.database)
    return settle_next(state).round_job.round_id


def _stage(job_id: str, stage: str, end: datetime | None, tokens: int | None) -> JobStageRow:
    return JobStageRow(
        job_id=job_id, stage=stage, started_at=START, finished_at=end, tokens=tokens, digest=None
    )


def _owner(group: TestClient) -> str:
    return str(group.get("/v1/keys/current").json()["group_id"])


def _retype_messages(session: Session, type_: str) -> None:
    session.execute(update(WebhookMessageRow).values(type=type_))
