"""Keys, bodies and reports are in no log line and in no error, whichever way they came."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support import Connect, MakeGroup, OpenRound, report_body, upload_jsonl

from service.auth import new_secret
from service.dependencies import AppState

WORD = "our-secret-taste"
PAIRS = [{"prompt": f"{n}", "chosen": f"{WORD} {n}", "rejected": "c"} for n in range(12)]
JSON = {"Content-Type": "application/json"}


def _report_in_good_and_bad_ways(group: TestClient, url: str) -> list[Any]:
    file = upload_jsonl(group, "preferences", PAIRS)
    fitted = {
        "type": "preference_data",
        "file_id": file["id"],
        "method": {"name": "tfidf_bradley_terry"},
    }
    made = group.post("/v1/reward-models", json={"name": WORD, "reward_model": fitted})
    assert made.status_code == 201, made.text
    return [
        group.put(url, json=report_body(word=WORD)),
        group.put(url, json={"size": 2, "reward_model": fitted}),
        group.put(url, content=f'{{"size": 2, "{WORD}'.encode(), headers=JSON),
        group.get(url),
        group.delete(url),
        group.get(f"/v1/reward-models/{made.json()['id']}"),
        group.post(f"/v1/jobs/{made.json()['job_id']}/cancel"),
        group.get("/v1/files", params={"after": WORD}),
    ]


def test_no_log_line_holds_a_report_a_body_or_a_key(
    make_group: MakeGroup,
    open_round: OpenRound,
    operator: TestClient,
    client_with_key: Connect,
    capfd: pytest.CaptureFixture[str],
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round()['id']}/report"
    _report_in_good_and_bad_ways(group, url)
    made = operator.post("/v1/keys", json={"scope": "operator"}).json()
    rotated = operator.post(f"/v1/keys/{made['id']}/rotate", json={}).json()
    stranger = new_secret("operator")
    client_with_key(stranger).get("/v1/groups")
    printed = capfd.readouterr()
    logged = printed.out + printed.err
    assert url in logged  # so that it is the log that was searched
    for secret in (WORD, _key_of(group), _key_of(operator), stranger):
        assert secret not in logged
    assert made["secret"] not in logged
    assert rotated["secret"] not in logged


@pytest.mark.parametrize("table", ["reports", "keys", "files", "reward_models", "audit_log"])
def test_a_database_that_fails_in_any_place_tells_nothing(
    make_group: MakeGroup,
    open_round: OpenRound,
    operator: TestClient,
    state: AppState,
    capfd: pytest.CaptureFixture[str],
    table: str,
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round()['id']}/report"
    file = upload_jsonl(group, "preferences", PAIRS)
    fitted = {
        "type": "preference_data",
        "file_id": file["id"],
        "method": {"name": "tfidf_bradley_terry"},
    }
    with state.database.write() as session:
        session.connection().exec_driver_sql(f"ALTER TABLE {table} RENAME TO gone")
    data = f'{{"prompt": "{WORD}", "chosen": "b", "rejected": "c"}}\n'.encode()
    answers = [
        group.put(url, json=report_body(word=WORD)),
        group.post("/v1/reward-models", json={"name": WORD, "reward_model": fitted}),
        group.post(
            "/v1/files", data={"purpose": "preferences"}, files={"file": (f"{WORD}.jsonl", data)}
        ),
        operator.post("/v1/keys", json={"scope": "operator", "name": WORD}),
    ]
    failed = [answer for answer in answers if answer.status_code >= 500]
    assert failed
    printed = capfd.readouterr()
    for text in (printed.out, printed.err, *(answer.text for answer in failed)):
        assert WORD not in text
        assert _key_of(group) not in text
        assert _key_of(operator) not in text
    assert "gone" not in "".join(answer.text for answer in failed)


def test_an_error_shows_a_stranger_nothing_of_a_key(
    client_with_key: Connect, client: TestClient
) -> None:
    secret = new_secret("group")
    stranger = client_with_key(secret)
    for answer in (
        stranger.get("/v1/rounds"),
        stranger.post("/v1/files", files={"file": ("x", b"y")}),
        stranger.get("/nowhere"),
        client.get("/v1/rounds", headers={"Authorization": f"Basic {secret}"}),
    ):
        assert answer.status_code in (401, 404)
        assert secret not in answer.text
        assert secret not in str(answer.headers)


def _key_of(client: TestClient) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")
