"""Traces from a request to the stages of its job, sent to a collector; and what has no trace."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import FakeCluster, job_row, running, status, until
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_collector import Collector, collecting
from pydantic import ValidationError
from reward_model_scenes import create
from scenes import queue_job
from sqlalchemy import select, update
from starlette.testclient import TestClient
from support import MakeGroup, OpenRound, report_body
from typer.testing import CliRunner

from api_schemas.errors import RoundFailed
from api_schemas.jobs import STAGES
from service import cli
from service.database import Database, database_now
from service.dependencies import AppState
from service.settings import Settings
from service.tables import JobRow, RoundRow
from workers import tracing
from workers.artifacts import ArtifactStore
from workers.tracing import TraceLink, Tracing, continued, current_link

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WORD = "our-secret-taste"
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One kind of database: what is traced does not depend on it."""
    shutil.copy(sqlite_template, tmp_path / "truthtune.db")
    return f"sqlite:///{tmp_path / 'truthtune.db'}"


@pytest.fixture
def settings(settings: Settings, collector: Collector) -> Settings:
    return settings.model_copy(update={"otlp_endpoint": collector.url})


class TaskCluster(FakeCluster):
    """Runs one task a stage, with the link that a cluster would pass on to it."""

    def run_stage(self, stage: Any, *rest: Any) -> str:
        with continued(current_link(), f"task of {stage}"):
            return super().run_stage(stage, *rest)


def test_one_trace_leads_from_the_request_that_closed_a_round_to_the_tasks_of_its_job(
    collector: Collector,
    quick: Settings,
    cluster: FakeCluster,
    operator: TestClient,
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
) -> None:
    round_id = open_round()["id"]
    make_group("teachers")[1].put(f"/v1/rounds/{round_id}/report", json=report_body(word=WORD))
    closed = operator.post(f"/v1/rounds/{round_id}/close", headers={"traceparent": CALLER}).json()
    with running(quick, TaskCluster(cluster.artifacts)):
        until(lambda: status(state.database, closed["job_id"]) == "succeeded")
    job = collector.wait_for("job round")
    request = collector.wait_for("POST /v1/rounds/{round_id}/close")
    version, trace_id, caller, _ = CALLER.split("-")
    assert (version, request.trace, request.parent) == ("00", trace_id, caller)
    assert (job.trace, job.parent, job.process) == (trace_id, request.id, "truthtune-coordinator")
    assert job.attributes["truthtune.job_id"] == closed["job_id"]
    for stage in STAGES:
        span = collector.wait_for(f"stage {stage}")
        assert (span.trace, span.parent) == (trace_id, job.id)
        assert span.attributes["truthtune.attempt"] == 1
        if stage != "settle":
            assert span.attributes["truthtune.digest"].startswith("sha256:")
            task = collector.wait_for(f"task of {stage}")
            assert (task.trace, task.parent, task.process) == (
                trace_id,
                span.id,
                "truthtune-worker",
            )
    assert not any(WORD.encode() in body for body in collector.bodies)


def test_reports_and_what_is_made_for_them_have_no_trace(
    collector: Collector,
    quick: Settings,
    cluster: FakeCluster,
    app: FastAPI,
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
) -> None:
    url = f"/v1/rounds/{open_round()['id']}/report"
    _, teachers = make_group("teachers")
    collector.wait_for("POST /v1/rounds/{round_id}/open")
    collector.spans.clear()
    answers = [
        teachers.put(url, json=report_body(), headers={"traceparent": CALLER}),
        teachers.put(url, json={"size": "many"}),
        teachers.get(url),
        teachers.post(f"{url}/preview", json=report_body(), headers={"traceparent": CALLER}),
        teachers.get("/nowhere"),
        teachers.get("/metrics"),
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 200, 202, 404, 200]
    made = create(teachers)
    with running(quick, TaskCluster(cluster.artifacts)):
        until(lambda: status(state.database, made["job_id"]) == "succeeded")
    teachers.get("/v1/keys/current")
    collector.wait_for("GET /v1/keys/current")
    assert {span.name for span in collector.spans} == {"GET /v1/keys/current"}
    with state.database.read() as session:
        assert set(session.scalars(select(JobRow.traceparent))) == {None}


def test_a_round_that_closes_by_itself_starts_a_trace_of_its_own(
    collector: Collector,
    quick: Settings,
    cluster: FakeCluster,
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
) -> None:
    round_id = open_round(closes_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())["id"]
    make_group("teachers")[1].put(f"/v1/rounds/{round_id}/report", json=report_body())
    with state.database.write() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(RoundRow).values(closes_at=past))
    with running(quick, cluster):
        job = collector.wait_for("job round")
    closing = collector.wait_for("close round")
    assert (closing.parent, job.parent, job.trace) == ("", closing.id, closing.trace)


def test_a_failure_is_named_and_its_message_stays_here(
    collector: Collector, database: Database, quick: Settings, cluster: FakeCluster
) -> None:
    job_id = queue_job(database)

    def refuse(_: Any) -> None:
        raise RoundFailed(f"{WORD} can't be scored", code="all_excluded")

    cluster.acts["score"] = refuse
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "failed")
    for name in ("stage score", "job round"):
        span = collector.wait_for(name)
        assert span.failed
        assert span.attributes["error.type"] == "all_excluded"
    assert not collector.wait_for("stage sample_pool").failed
    assert not any(WORD.encode() in body for body in collector.bodies)


def test_a_stage_run_again_is_in_the_same_trace_with_its_attempt(
    collector: Collector,
    database: Database,
    quick: Settings,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.jobs.attempts._LONGEST_BACKOFF_SECONDS", 0.0)
    with Tracing(quick.otlp_endpoint).span("an operator's request") as _:
        link = current_link()
        job_id = queue_job(database)
    assert link is not None
    assert job_row(database, job_id).traceparent == link.traceparent

    def fail_once(_: Any) -> None:
        if cluster.ran.count("score") == 1:
            raise MemoryError("no room")

    cluster.acts["score"] = fail_once
    with running(quick, cluster):
        until(lambda: status(database, job_id) == "succeeded")
    collector.wait_for("stage settle")
    tries = [span for span in collector.spans if span.name == "stage score"]
    assert {span.trace for span in tries} == {link.traceparent.split("-")[1]}
    assert [(span.attributes["truthtune.attempt"], span.failed) for span in tries] == [
        (1, True),
        (2, False),
    ]


def test_the_frameworks_own_telemetry_tells_nothing_of_reports_either(
    monkeypatch: pytest.MonkeyPatch,
    operator: TestClient,
    make_group: MakeGroup,
    open_round: OpenRound,
) -> None:
    """It is on by default for whoever sets a provider, as `opentelemetry-instrument` does."""
    sent = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(sent))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    TestClient(FastAPI()).get("/control")
    assert len(sent.get_finished_spans()) == 1
    sent.clear()
    url = f"/v1/rounds/{open_round()['id']}/report"
    make_group("teachers")[1].put(url, json=report_body())
    assert sent.get_finished_spans() == ()


@pytest.mark.parametrize("command", ["serve", "coordinator"])
def test_an_endpoint_without_the_packages_is_refused_in_a_line(
    command: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUTHTUNE_DATABASE_URL", database_url)
    monkeypatch.setenv("TRUTHTUNE_OTLP_ENDPOINT", "http://collector:4318")
    refused = CliRunner().invoke(cli.app, [command])
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "TRUTHTUNE_OTLP_ENDPOINT is http://collector:4318" in refused.stderr
    assert "pip install 'truthtune[tracing]'" in refused.stderr


def test_an_endpoint_that_is_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="otlp_endpoint"):
        Settings(home=tmp_path, otlp_endpoint="collector:4318")


def test_a_machine_without_the_packages_works_on_without_traces(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with continued(TraceLink(f"{collector.url}/another", CALLER), "task"):
        assert current_link() is None


def test_without_an_endpoint_nothing_is_traced_nor_loaded() -> None:
    code = (
        "import sys; from workers.tracing import Tracing, continued, current_link\n"
        "with Tracing().span('a') as span, continued(current_link(), 'b'):\n"
        "    span.note('key', 1); assert current_link() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_request_within_a_request_has_a_trace_of_its_own(collector: Collector) -> None:
    """As the pages of the dashboard ask the API, whose own span is never sent."""
    tracing = Tracing(collector.url)
    with tracing.span("page", kind="server") as page:
        page.drop()
        with tracing.span("request", kind="server"), tracing.span("work"):
            pass
    request, work = collector.wait_for("request"), collector.wait_for("work")
    assert (request.parent, work.parent) == ("", request.id)
    assert {span.name for span in collector.spans} == {"request", "work"}


def test_a_collector_that_is_away_stops_no_work(database: Database, quick: Settings) -> None:
    away = quick.model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})
    job_id = queue_job(database)
    with running(away, FakeCluster(ArtifactStore(quick.resolved_artifacts_url))):
        until(lambda: status(database, job_id) == "succeeded")


def test_the_last_span_of_a_process_is_sent_before_its_work_is_done(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_EXPORT_SECONDS", 3600.0)
    tracing._of_tasks.cache_clear()
    link = TraceLink(collector.url, CALLER)
    with pytest.raises(RoundFailed), continued(link, "training worker 0", last=True):
        raise RoundFailed("it diverged", code="no_model")
    assert [(span.name, span.failed) for span in collector.spans] == [("training worker 0", True)]
    tracing._of_tasks.cache_clear()  # the next asks for its own
