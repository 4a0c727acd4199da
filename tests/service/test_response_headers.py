"""What every answer tells browsers and caches."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from support import OpenRound

NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/groups", 200),
        ("POST", "/v1/groups", 422),
        ("GET", "/v1/jobs/nothing", 422),
        ("PATCH", "/v1/groups", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_every_answer_says_what_must_not_be_done_with_it(
    operator: TestClient, method: str, path: str, status: int
) -> None:
    answer = operator.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == NOTHING_RUNS


def test_a_failure_nobody_foresaw_has_the_headers_too(app: FastAPI, client: TestClient) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    assert client.get("/broken").headers["Content-Security-Policy"] == NOTHING_RUNS


def test_what_a_key_gets_is_not_kept_by_caches(
    operator: TestClient, client: TestClient, open_round: OpenRound
) -> None:
    file_id = open_round()["announcement"]["prompts_file_id"]
    assert operator.get("/v1/groups").headers["Cache-Control"] == "no-store"
    assert operator.get(f"/v1/groups/grp_{'0' * 26}").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.get("/healthz").headers
    assert "Cache-Control" not in operator.get(f"/v1/files/{file_id}/content").headers


def test_only_https_is_made_to_stay(client: TestClient) -> None:
    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    secure = client.get("https://testserver/healthz")
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_may_load_its_scripts_and_nobody_may_frame_it(
    client: TestClient, page: str
) -> None:
    answer = client.get(page)
    assert "<script" in answer.text
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
