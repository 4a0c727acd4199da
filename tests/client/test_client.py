"""The client against a real server."""

import hashlib
import json
from pathlib import Path

import pytest
from client_support import RunningService

from api_schemas.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    TooLarge,
)
from api_schemas.reports import ReportPut
from api_schemas.rounds import Round, RoundCreate
from client import Truthtune, pages
from client.problems import Unreachable

REPORT = ReportPut.model_validate(
    {
        "size": 3,
        "reward_model": {
            "type": "lexical",
            "features": [{"type": "keywords", "words": ["sun"], "weight": 1.0}],
        },
    }
)


@pytest.fixture
def prompts_file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "red sun"}\n{"prompt": "blue"}\n')
    return path


@pytest.fixture
def draft(operator: Truthtune, prompts_file: Path) -> Round:
    announcement = RoundCreate.model_validate(
        {
            "name": "A round",
            "base_model": "tiny-enumerable",
            "prompts_file_id": operator.files.upload(prompts_file, "prompts").id,
            "pool": {"method": "enumerate"},
            "generation": {"max_new_tokens": 2},
            "regularizer": {"type": "kl", "coefficient": 1.0},
            "max_group_size": 10,
            "price_per_unit_micro_units": 1_000_000,
        }
    )
    return operator.rounds.create(announcement)


def test_an_uploaded_file_comes_back_byte_by_byte_under_its_sha256(
    operator: Truthtune, prompts_file: Path
) -> None:
    file = operator.files.upload(prompts_file, "prompts")
    data = prompts_file.read_bytes()
    assert file.sha256 == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert file.lines == 2
    assert operator.files.get(file.id) == file
    assert operator.files.content(file.id) == data


def test_a_report_can_be_put_read_and_withdrawn_while_the_round_is_open(
    operator: Truthtune, group: Truthtune, draft: Round
) -> None:
    assert operator.rounds.open(draft.id).state == "open"
    put = group.rounds.put_report(draft.id, REPORT)
    assert put.size == 3
    assert put.probe is not None
    assert group.rounds.get_report(draft.id) == put
    assert group.rounds.delete_report(draft.id).round_id == draft.id
    with pytest.raises(NotFound):
        group.rounds.get_report(draft.id)


def test_closing_a_reported_round_names_its_job_and_a_cancelled_one_is_cancelled(
    operator: Truthtune, group: Truthtune, draft: Round
) -> None:
    operator.rounds.open(draft.id)
    group.rounds.put_report(draft.id, REPORT)
    closed = operator.rounds.close(draft.id)
    assert closed.job_id is not None
    assert operator.jobs.get(closed.job_id).round_id == draft.id
    assert [event.type for event in operator.jobs.events(closed.job_id)] == ["job_queued"]
    operator.jobs.cancel(closed.job_id)
    last = operator.jobs.wait(closed.job_id)
    assert last.status == "cancelled"
    assert [event.type for event in operator.jobs.stream(closed.job_id)][-1] == "job_cancelled"
    assert operator.jobs.retry(closed.job_id).status == "queued"
    assert group.rounds.get_report(draft.id).unsealed_at is None
    unsealed = operator.rounds.unseal_reports(draft.id, "a dispute")
    assert [report.size for report in unsealed.reports] == [REPORT.size]
    assert group.rounds.get_report(draft.id).unsealed_at is not None
    assert operator.rounds.cancel(draft.id).state == "cancelled"


def test_a_list_longer_than_a_page_is_read_to_its_end_in_order(
    operator: Truthtune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PAGE", 2)
    made = [operator.groups.create(f"of a long list {number}").id for number in range(5)]
    found = [group.id for group in operator.groups.list()]
    assert len(found) == len(set(found))
    assert [group_id for group_id in found if group_id in made] == made[::-1]


def test_a_create_sent_twice_under_one_idempotency_key_makes_one_thing(
    operator: Truthtune,
) -> None:
    first = operator.groups.create("sent twice", idempotency_key="tests-sent-twice")
    assert operator.groups.create("sent twice", idempotency_key="tests-sent-twice") == first


def test_errors_are_raised_by_name_with_the_field_at_fault(
    operator: Truthtune, group: Truthtune, draft: Round, tmp_path: Path
) -> None:
    with pytest.raises(Forbidden):
        group.groups.create("by a group")
    with pytest.raises(Conflict) as conflict:
        operator.rounds.outcome(operator.rounds.open(draft.id).id)
    assert "open" in str(conflict.value)
    with pytest.raises(InvalidInput) as too_big:
        group.rounds.put_report(draft.id, REPORT.model_copy(update={"size": 11}))
    assert too_big.value.param == "size"
    assert "11" in str(too_big.value)
    with pytest.raises(NotFound):
        operator.models.get("mdl_" + "0" * 26)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "red"}\n{"promt": "blue"}\n')
    with pytest.raises(InvalidInput, match="line 2"):
        operator.files.upload(bad, "prompts")
    large = tmp_path / "large.jsonl"
    large.write_text(json.dumps({"prompt": "sun " * 5_000}) * 10)
    with pytest.raises(TooLarge):
        operator.files.upload(large, "prompts")


def test_an_unknown_key_and_a_missing_service_are_told_apart(service: RunningService) -> None:
    with Truthtune(service.url, "tt_op_unknown") as client, pytest.raises(NotAuthenticated):
        list(client.groups.list())
    with (
        Truthtune("http://127.0.0.1:1", "tt_op_x") as client,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"),
    ):
        list(client.groups.list())
    with Truthtune("127.0.0.1", "tt_op_x") as client, pytest.raises(Unreachable, match="http"):
        list(client.groups.list())


def test_a_file_that_is_not_there_is_an_error_before_anything_is_sent(
    operator: Truthtune, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.jsonl can't be read: No such file"):
        operator.files.upload(tmp_path / "absent.jsonl", "prompts")
