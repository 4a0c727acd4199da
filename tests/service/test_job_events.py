"""Job events: numbered without gaps, never changed, and streamed as they come."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from scenes import DIGEST, claim, queue_job
from starlette.testclient import TestClient
from support import MakeGroup, add_key

from api_schemas.jobs import PUBLIC_EVENTS, ProgressEvent
from api_schemas.rounds import RoundFailure
from service.dependencies import AppState
from service.jobs import events, leases
from service.jobs.leases import Claim

FAILURE = RoundFailure(code="empty_pool", message="there is nothing to choose from")


@pytest.fixture
def job_id(state: AppState) -> str:
    """A queued job of a closed round with three reports."""
    return queue_job(state.database)


def test_events_are_listed_oldest_first_and_numbered_from_one(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    _work(state)
    listed = operator.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [event["sequence"] for event in listed] == list(range(1, 7))
    assert [event["type"] for event in listed] == [
        "job_queued",
        "job_claimed",
        "stage_started",
        "training_step",
        "world_evaluated",
        "stage_finished",
    ]
    assert listed[3]["data"] == {"step": 1, "welfare": 1.5}


def test_events_are_read_from_the_end(operator: TestClient, state: AppState, job_id: str) -> None:
    """Whoever looks at a long training needs its last events, page by page backwards."""
    _work(state)
    url, seen, after = f"/v1/jobs/{job_id}/events?newest_first=true&limit=4", [], ""
    for _ in range(2):
        page = operator.get(url + after).json()
        seen += [event["sequence"] for event in page["data"]]
        after = f"&after={page['last_id']}"
    assert seen == list(range(6, 0, -1))
    assert page["has_more"] is False


def test_pages_of_events_join_to_the_whole(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    _work(state)
    url, seen, after = f"/v1/jobs/{job_id}/events?limit=4", [], ""
    for _ in range(2):
        page = operator.get(url + after).json()
        seen += [event["sequence"] for event in page["data"]]
        after = f"&after={page['last_id']}"
    assert seen == list(range(1, 7))
    assert page["has_more"] is False


def test_a_group_sees_public_events_only_and_cannot_count_the_others(
    make_group: MakeGroup, state: AppState, job_id: str
) -> None:
    """Gaps in the numbers would tell how many worlds there are, and so how many groups."""
    _work(state)
    _, group = make_group("teachers")
    listed = group.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert {event["type"] for event in listed} <= PUBLIC_EVENTS
    assert [event["sequence"] for event in listed] == [1, 2, 3, 4]
    page = group.get(f"/v1/jobs/{job_id}/events?limit=2&after={listed[1]['id']}").json()
    assert page["data"] == listed[2:]
    assert page["has_more"] is False


def test_what_a_database_cannot_hold_is_spelled_out(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    held = claim(state.database)
    odd = ProgressEvent(
        type="warning", message="a\x00b" + "c" * 5000, data={"kl": float("nan"), "text": ["\x00"]}
    )
    with state.database.write() as session:
        leases.record(session, held, odd)
    event = operator.get(f"/v1/jobs/{job_id}/events").json()["data"][-1]
    assert event["message"].startswith("a\ufffdbc")
    assert len(event["message"]) == 4000
    assert event["data"] == {"kl": "nan", "text": ["\ufffd"]}


def test_the_stream_of_a_finished_job_gives_all_and_ends(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    held = _work(state)
    with state.database.write() as session:
        leases.fail(session, held, FAILURE)
    listed = operator.get(f"/v1/jobs/{job_id}/events").json()["data"]
    streamed = _parse(operator.get(f"/v1/jobs/{job_id}/events/stream").text)
    assert [data for _, _, data in streamed] == listed
    assert [kind for _, kind, _ in streamed] == [event["type"] for event in listed]
    assert [number for number, _, _ in streamed] == [str(event["sequence"]) for event in listed]


def test_a_stream_resumes_behind_the_last_event_id(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    held = _work(state)
    with state.database.write() as session:
        leases.fail(session, held, FAILURE)
    url = f"/v1/jobs/{job_id}/events/stream"
    resumed = _parse(operator.get(url, headers={"Last-Event-ID": "5"}).text)
    assert [number for number, _, _ in resumed] == ["6", "7"]
    assert _parse(operator.get(url, headers={"Last-Event-ID": "7"}).text) == []
    assert operator.get(url, headers={"Last-Event-ID": "five"}).status_code == 422


def test_more_events_than_one_look_takes_are_all_streamed(
    operator: TestClient, state: AppState, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_BATCH", 2)
    held = _work(state)
    with state.database.write() as session:
        leases.fail(session, held, FAILURE)
    streamed = _parse(operator.get(f"/v1/jobs/{job_id}/events/stream").text)
    assert [number for number, _, _ in streamed] == [str(number) for number in range(1, 8)]


def test_a_retried_jobs_stream_goes_on_beyond_its_first_failure(
    operator: TestClient, state: AppState, job_id: str
) -> None:
    for _ in range(2):
        held = claim(state.database)
        with state.database.write() as session:
            leases.fail(session, held, FAILURE)
        types = [kind for _, kind, _ in _stream(operator, job_id)]
        operator.post(f"/v1/jobs/{job_id}/retry")
    assert types.count("job_failed") == 2


def test_a_group_streams_the_same_events_as_it_lists(
    make_group: MakeGroup, state: AppState, job_id: str
) -> None:
    held = _work(state)
    with state.database.write() as session:
        leases.fail(session, held, FAILURE)
    _, group = make_group("teachers")
    listed = group.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [data for _, _, data in _stream(group, job_id)] == listed
    url = f"/v1/jobs/{job_id}/events/stream"
    resumed = _parse(group.get(url, headers={"Last-Event-ID": "4"}).text)
    assert [data for _, _, data in resumed] == listed[4:]


@pytest.fixture
def base_url(app: FastAPI, client: TestClient) -> Iterator[str]:
    """A real server over the running application; a test client would wait for the whole body."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_events_reach_a_waiting_stream_before_the_job_has_finished(
    base_url: str, state: AppState, job_id: str
) -> None:
    key = {"Authorization": f"Bearer {add_key(state, 'operator', None)}"}
    url = f"{base_url}/v1/jobs/{job_id}/events/stream"
    with httpx.stream("GET", url, headers=key, timeout=30) as response:
        lines = response.iter_lines()
        assert _next_event(lines)["type"] == "job_queued"
        held = claim(state.database)
        assert _next_event(lines)["type"] == "job_claimed"
        assert state.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        with state.database.write() as session:
            leases.fail(session, held, FAILURE)
        assert _next_event(lines)["data"] == {"code": "empty_pool"}
        assert [line for line in lines if line.startswith("data:")] == []


def _work(state: AppState) -> Claim:
    """Claims the job and runs a stage of it, with two events that are not public."""
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "train")
        for event in (
            ProgressEvent(type="training_step", message="step 1", data={"step": 1, "welfare": 1.5}),
            ProgressEvent(type="world_evaluated", message="grand", data={"world": "grand"}),
        ):
            leases.record(session, held, event)
        leases.finish_stage(session, held, "train", DIGEST)
    return held


def _stream(client: TestClient, job_id: str) -> list[tuple[str, str, Any]]:
    return _parse(client.get(f"/v1/jobs/{job_id}/events/stream").text)


def _parse(text: str) -> list[tuple[str, str, Any]]:
    """Id, type and data of every event of a whole stream."""
    found = []
    for block in text.strip().split("\n\n") if text.strip() else []:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def _next_event(lines: Iterator[str]) -> Any:
    return json.loads(next(line for line in lines if line.startswith("data: "))[6:])
