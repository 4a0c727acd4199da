"""When a request is sent again, and when it must not be."""

import json
import time
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas.errors import (
    Conflict,
    QuotaExceeded,
    RateLimited,
    RoundFailed,
    TruthtuneError,
)
from client import Truthtune
from client.problems import RequestFailed, Unreachable

GROUP = {
    "object": "group",
    "id": "grp_" + "0" * 26,
    "name": "teachers",
    "created_at": "2026-01-01T00:00:00Z",
}
KEY = {
    "object": "key",
    "id": "key_" + "0" * 26,
    "scope": "group",
    "group_id": GROUP["id"],
    "name": "",
    "access": "full",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "successor_id": None,
    "secret": "tt_grp_secret",
}


def ok(body: dict[str, Any]) -> Answer:
    return Answer(201, json.dumps(body).encode())


def problem(status: int, code: str, **headers: str) -> Answer:
    body = {"title": "", "status": status, "detail": f"because of {code}", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), named)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_create_is_repeated_under_the_same_idempotency_key_until_it_succeeds(
    scripted: Truthtune, script: Script, status: int
) -> None:
    script.answers = [problem(status, "busy"), problem(status, "busy"), ok(GROUP)]
    assert scripted.groups.create("teachers").name == "teachers"
    keys = {asked.headers["idempotency-key"] for asked in script.asked}
    assert len(script.asked) == 3
    assert len(keys) == 1


def test_two_creates_have_different_idempotency_keys(scripted: Truthtune, script: Script) -> None:
    script.answers = [ok(GROUP), ok(GROUP)]
    scripted.groups.create("teachers")
    scripted.groups.create("teachers")
    assert len({asked.headers["idempotency-key"] for asked in script.asked}) == 2


def test_a_create_whose_answer_was_lost_is_repeated(scripted: Truthtune, script: Script) -> None:
    script.answers = [Answer(201, b"{", promised=500), ok(GROUP)]
    assert scripted.groups.create("teachers").name == "teachers"


def test_making_a_key_whose_answer_was_lost_is_an_error_and_not_repeated(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [Answer(201, b"{", promised=500), ok(KEY)]
    with pytest.raises(Unreachable):
        scripted.groups.create_key(GROUP["id"])
    assert len(script.asked) == 1


def test_making_a_key_is_not_repeated_when_it_may_have_been_done(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(503, "busy"), ok(KEY)]
    with pytest.raises(RequestFailed) as failed:
        scripted.groups.create_key(GROUP["id"])
    assert failed.value.status == 503
    assert len(script.asked) == 1
    assert "idempotency-key" not in script.asked[0].headers


def test_making_a_key_is_repeated_when_it_was_refused_for_now(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(429, "too_many"), ok(KEY)]
    assert scripted.groups.create_key(GROUP["id"]).secret == "tt_grp_secret"


def test_a_quota_is_an_error_at_once_for_waiting_would_not_help(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(429, "quota_exceeded", x_should_retry="false"), ok(GROUP)]
    with pytest.raises(QuotaExceeded):
        scripted.groups.create("teachers")
    assert len(script.asked) == 1


def test_whoever_is_told_to_wait_for_longer_than_a_minute_gets_the_error(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(429, "rate_limited", Retry_After="61"), ok(GROUP)]
    with pytest.raises(RateLimited):
        scripted.groups.get(GROUP["id"])
    assert len(script.asked) == 1


def test_x_should_retry_overrides_the_status_both_ways(scripted: Truthtune, script: Script) -> None:
    script.answers = [problem(503, "busy", x_should_retry="false")]
    with pytest.raises(RequestFailed):
        scripted.groups.get(GROUP["id"])
    script.answers = [problem(409, "locked", x_should_retry="true"), ok(GROUP)]
    assert scripted.groups.get(GROUP["id"]).name == "teachers"


def test_retry_after_is_waited_for(
    scripted: Truthtune, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    script.answers = [problem(429, "too_many", Retry_After="7"), ok(GROUP)]
    scripted.groups.get(GROUP["id"])
    assert waited == [7.0]


def test_a_service_that_asks_for_an_hour_is_not_waited_for(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(503, "maintenance", Retry_After="3600")]
    started = time.monotonic()
    with pytest.raises(RequestFailed, match="because of maintenance"):
        scripted.groups.get(GROUP["id"])
    assert time.monotonic() - started < 5
    assert len(script.asked) == 1


def test_retries_come_to_an_end(script: Script) -> None:
    script.answers = [problem(503, "busy")] * 10
    with (
        Truthtune(script.url, "tt_op_test", retries=2) as client,
        pytest.raises(RequestFailed),
    ):
        client.groups.get(GROUP["id"])
    assert len(script.asked) == 3


def test_the_code_decides_the_class_where_a_status_has_several(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [problem(409, "round_failed"), problem(409, "illegal_transition")]
    with pytest.raises(RoundFailed):
        scripted.groups.get(GROUP["id"])
    with pytest.raises(Conflict) as conflict:
        scripted.groups.get(GROUP["id"])
    assert conflict.value.code == "illegal_transition"


def test_an_answer_that_is_no_problem_document_is_still_an_error_with_its_status(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [Answer(418, b"<html>teapot</html>")]
    with pytest.raises(RequestFailed, match="HTTP 418") as failed:
        scripted.groups.get(GROUP["id"])
    assert failed.value.status == 418


def test_fields_of_a_newer_service_are_passed_over(scripted: Truthtune, script: Script) -> None:
    script.answers = [ok(GROUP | {"colour": "blue"})]
    assert scripted.groups.get(GROUP["id"]).name == "teachers"


def test_an_answer_of_another_kind_is_an_error_not_a_guess(
    scripted: Truthtune, script: Script
) -> None:
    script.answers = [Answer(200, b"<html>a proxy's page</html>")]
    with pytest.raises(TruthtuneError, match="no Group") as error:
        scripted.groups.get(GROUP["id"])
    assert error.value.code == "unexpected_answer"
