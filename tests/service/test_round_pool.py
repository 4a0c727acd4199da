"""The pool of a settled round: who may download it, and that its bytes are those of its digest."""

import hashlib

import pytest
from scenes import claim, queue_job, settle, settle_next, store_adapter, valued
from starlette.testclient import TestClient
from support import MakeGroup

from service.dependencies import AppState
from service.jobs import leases
from service.models.archive import build_archive

POOL = b"tokens, texts and weights"


@pytest.fixture
def settled(make_group: MakeGroup, state: AppState) -> tuple[str, TestClient, TestClient]:
    """A round with a stored pool, a group that took part and one that was excluded."""
    member_id, member = make_group("teachers")
    excluded_id, excluded = make_group("pupils")
    queue_job(state.database, sorted([member_id, excluded_id]))
    held = claim(state.database)
    files = store_adapter(state.artifacts)
    found = valued(held.job, excluded={excluded_id: "sample 3 has no score"}, files=files)
    outcome = found.outcome.model_copy(update={"pool_digest": state.artifacts.put(POOL)})
    found = found.model_copy(update={"outcome": outcome})
    settle(state.database, held, found, build_archive(state.artifacts, files))
    return held.job.round_id, member, excluded


def test_groups_that_took_part_and_the_operator_get_the_bytes_of_the_outcomes_digest(
    settled: tuple[str, TestClient, TestClient], operator: TestClient
) -> None:
    round_id, member, _ = settled
    digest = member.get(f"/v1/rounds/{round_id}/outcome").json()["pool_digest"]
    assert digest == f"sha256:{hashlib.sha256(POOL).hexdigest()}"
    for client in (member, operator):
        got = client.get(f"/v1/rounds/{round_id}/pool")
        assert (got.status_code, got.content) == (200, POOL)
        assert got.headers["ETag"] == f'"{digest}"'
        assert got.headers["Accept-Ranges"] == "bytes"
        assert f"{round_id}-pool.safetensors" in got.headers["Content-Disposition"]


def test_a_part_of_it_can_be_had_and_a_part_behind_its_end_can_t(
    settled: tuple[str, TestClient, TestClient],
) -> None:
    round_id, member, _ = settled
    url = f"/v1/rounds/{round_id}/pool"
    part = member.get(url, headers={"Range": "bytes=8-12"})
    assert (part.status_code, part.content) == (206, POOL[8:13])
    assert part.headers["Content-Range"] == f"bytes 8-12/{len(POOL)}"
    assert member.get(url, headers={"If-None-Match": part.headers["ETag"]}).status_code == 304
    assert member.get(url, headers={"Range": "bytes=99-"}).status_code == 416


def test_excluded_groups_and_strangers_are_told_that_there_is_none(
    settled: tuple[str, TestClient, TestClient], make_group: MakeGroup
) -> None:
    round_id, _, excluded = settled
    _, stranger = make_group("parents")
    for client in (excluded, stranger):
        assert client.get(f"/v1/rounds/{round_id}/pool").status_code == 404


def test_before_the_settlement_there_is_no_pool_to_download(
    operator: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    """Not even for the operator, and whatever the round's job has left in the store."""
    member_id, member = make_group("teachers")
    queue_job(state.database, [member_id])
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "sample_pool")
    url = f"/v1/rounds/{held.job.round_id}/pool"
    for client in (member, operator):
        answer = client.get(url)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_settled")


def test_a_pool_that_is_not_in_the_store_is_not_found(
    operator: TestClient, state: AppState
) -> None:
    queue_job(state.database)
    held = settle_next(state)
    assert operator.get(f"/v1/rounds/{held.job.round_id}/pool").status_code == 404
