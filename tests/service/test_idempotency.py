"""A POST sent twice makes one thing."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select
from starlette.testclient import TestClient
from support import MakeGroup, UploadPrompts, round_body

from service.dependencies import AppState
from service.tables import FileRow, GroupRow, RoundRow

KEY = {"Idempotency-Key": "6f1c2a"}


def test_the_same_key_and_body_give_the_same_answer(operator: TestClient, state: AppState) -> None:
    first = operator.post("/v1/groups", json={"name": "teachers"}, headers=KEY)
    second = operator.post("/v1/groups", json={"name": "teachers"}, headers=KEY)
    assert first.status_code == second.status_code == 201
    assert second.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert _count(state, GroupRow) == 1


def test_the_same_key_with_another_body_is_refused(operator: TestClient, state: AppState) -> None:
    operator.post("/v1/groups", json={"name": "teachers"}, headers=KEY)
    refused = operator.post("/v1/groups", json={"name": "pupils"}, headers=KEY)
    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert _count(state, GroupRow) == 1


def test_a_key_that_failed_may_be_used_again(operator: TestClient, make_group: MakeGroup) -> None:
    make_group("teachers")
    assert operator.post("/v1/groups", json={"name": "teachers"}, headers=KEY).status_code == 409
    assert operator.post("/v1/groups", json={"name": "pupils"}, headers=KEY).status_code == 201


def test_two_principals_may_use_the_same_key(make_group: MakeGroup, state: AppState) -> None:
    for name in ("teachers", "pupils"):
        _, group = make_group(name)
        assert _upload(group, b'{"prompt": "hi"}').status_code == 201
    assert _count(state, FileRow) == 2


def test_duplicates_at_the_same_time_make_one_thing(operator: TestClient, state: AppState) -> None:
    def post(_: int) -> tuple[int, str]:
        response = operator.post("/v1/groups", json={"name": "teachers"}, headers=KEY)
        return response.status_code, response.json()["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert len(set(answers)) == 1
    assert answers[0][0] == 201
    assert _count(state, GroupRow) == 1


def test_an_upload_sent_twice_is_one_file(operator: TestClient, state: AppState) -> None:
    first = _upload(operator, b'{"prompt": "hi"}')
    assert _upload(operator, b'{"prompt": "hi"}').json() == first.json()
    assert _upload(operator, b'{"prompt": "ho"}').status_code == 422
    assert _count(state, FileRow) == 1


def test_a_round_announced_twice_is_one_round(
    operator: TestClient, state: AppState, upload_prompts: UploadPrompts
) -> None:
    body = round_body(upload_prompts())
    first = operator.post("/v1/rounds", json=body, headers=KEY)
    assert operator.post("/v1/rounds", json=body, headers=KEY).json() == first.json()
    assert _count(state, RoundRow) == 1


def _upload(client: TestClient, data: bytes):  # type: ignore[no-untyped-def]
    return client.post(
        "/v1/files", data={"purpose": "prompts"}, files={"file": ("p.jsonl", data)}, headers=KEY
    )


def _count(state: AppState, table: type) -> int:
    with state.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
