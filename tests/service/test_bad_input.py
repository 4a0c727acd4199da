"""Hostile and broken requests are refused with the reason; none is a failure of the service."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from support import (
    MakeGroup,
    OpenRound,
    count_rows,
    report_body,
    round_body,
    upload_jsonl,
)

from api_schemas.strict_json import MAX_DEPTH
from service.dependencies import AppState
from service.tables import GroupRow

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the request"),
        (b"{", "not JSON"),
        (b'{"name": "teachers"', "not JSON: Expecting ',' delimiter at column 20"),
        (b'{"name": "\xff"}', "not UTF-8 at byte 11"),
        ('{"name": "teachers"}'.encode("utf-16"), "not UTF-8"),
        (b'{"name": "teachers", "name": "pupils"}', "the key 'name' occurs twice"),
        (b'{"name": "a\\u0000b"}', "U+0000"),
        (b'{"name": "\\ud800"}', "U+D800"),
        (b'{"\\ud800": 1}', "U+D800"),
        (b'{"name": ["a\\u0000b"]}', "U+0000"),
        (b'{"name": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"name": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b'{"name": NaN}', "NaN is not JSON"),
        (b'{"name": "teachers", "colour": "red"}', "colour"),
        (b'{"name": 7}', "name: Input should be a valid string, not 7"),
        (b'{"name": "two\\nlines"}', "name"),
        (b'["teachers"]', "the request"),
        (b"null", "the request"),
    ],
)
def test_a_broken_body_is_refused_with_its_reason(
    operator: TestClient, state: AppState, body: bytes, reason: str
) -> None:
    refused = operator.post("/v1/groups", content=body, headers=JSON)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert reason in refused.json()["detail"]
    assert count_rows(state, GroupRow) == 0


def test_every_route_with_a_json_body_refuses_duplicate_keys(
    app: FastAPI, operator: TestClient, make_group: MakeGroup
) -> None:
    _, group = make_group("teachers")
    asked = 0
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue
            url = path.replace("{round_id}", "rnd_" + "0" * 26)
            client = group if url.endswith("/report") else operator
            refused = client.request(method, url, content=b'{"x": 1, "x": 2}', headers=JSON)
            assert refused.status_code == 422, path
            assert "'x' occurs twice" in refused.json()["detail"], path
            asked += 1
    assert asked >= 4


def test_a_body_larger_than_json_may_be_is_refused(operator: TestClient) -> None:
    refused = operator.post("/v1/groups", content=b" " * (4 * 2**20 + 1), headers=JSON)
    assert refused.status_code == 413
    assert str(4 * 2**20) in refused.json()["detail"]


@pytest.mark.parametrize("escaped", ["\\\\u0000", "\\u00e9", "\\ud83c\\udf5d"])
def test_text_that_only_looks_unstorable_is_kept(operator: TestClient, escaped: str) -> None:
    created = operator.post("/v1/groups", content=f'{{"name": "{escaped}"}}', headers=JSON)
    assert created.status_code == 201
    assert created.json()["name"] == json.loads(f'"{escaped}"')


@pytest.mark.parametrize(
    "path",
    [
        "/v1/rounds/rnd_%00",
        "/v1/rounds/rnd_" + "0" * 27,
        "/v1/rounds/grp_" + "0" * 26,
        "/v1/files/..%2f..%2fetc%2fpasswd",
        "/v1/groups/grp_%ff",
        "/v1/groups?after=%00",
        "/v1/groups?limit=1e1",
        "/v1/groups?limit=" + "9" * 5000,
        "/v1/groups?after=grp_" + "0" * 26 + "%0a",
    ],
)
def test_an_id_that_cannot_be_one_is_refused(operator: TestClient, path: str) -> None:
    assert operator.get(path).status_code in (404, 422)


def test_ids_from_other_groups_are_answered_as_if_they_did_not_exist(
    operator: TestClient, make_group: MakeGroup, open_round: OpenRound
) -> None:
    """The same status and body, but for the id and the request's own id."""
    teachers_id, teachers = make_group("teachers")
    _, pupils = make_group("pupils")
    file = upload_jsonl(teachers, "preferences", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    opened = open_round()
    draft = operator.post("/v1/rounds", json=round_body(opened["announcement"]["prompts_file_id"]))
    for path, own_id in [
        ("/v1/groups/{}", teachers_id),
        ("/v1/files/{}", file["id"]),
        ("/v1/files/{}/content", file["id"]),
        ("/v1/rounds/{}", draft.json()["id"]),
        ("/v1/rounds/{}/report", draft.json()["id"]),
    ]:
        unknown_id = own_id.split("_")[0] + "_" + "0" * 26
        others, unknown = (pupils.get(path.format(which)) for which in (own_id, unknown_id))
        assert others.status_code == 404, path
        assert _without_ids(others.json(), own_id) == _without_ids(unknown.json(), unknown_id)


def test_a_failure_of_the_database_logs_no_report(
    make_group: MakeGroup,
    open_round: OpenRound,
    state: AppState,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round()['id']}/report"
    with state.database.write() as session:
        session.connection().exec_driver_sql("DROP TABLE reports")
    failed = group.put(url, json=report_body(word="our-secret-word"))
    assert failed.status_code == 500
    logged = capsys.readouterr().err
    assert "reports" in logged
    assert "our-secret-word" not in logged + failed.text


def _without_ids(problem: dict[str, Any], asked: str) -> dict[str, Any]:
    kept = {name: value for name, value in problem.items() if name != "request_id"}
    return kept | {"detail": problem["detail"].replace(asked, "")}


def test_json_is_read_to_its_depth_and_no_deeper(operator: TestClient) -> None:
    """Refused before any reader recurses; brackets in a text have no depth."""
    for depth, is_refused in ((MAX_DEPTH, False), (MAX_DEPTH + 1, True)):
        body = b'{"name": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        detail = operator.post("/v1/groups", content=body, headers=JSON).json()["detail"]
        assert ("nested too deeply" in detail) == is_refused, detail
    quoted = json.dumps({"name": '"' + "[{" * 30 + "\\"})
    assert operator.post("/v1/groups", content=quoted, headers=JSON).status_code == 201


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [b'\\"', b'"', b'"\\', b"[", b"]", b'["', b"{}"])
def test_no_body_takes_long_to_refuse(operator: TestClient, unit: bytes) -> None:
    body = b'{"name": "' + unit * (3 * 2**20 // len(unit))
    assert operator.post("/v1/groups", content=body, headers=JSON).status_code == 422
