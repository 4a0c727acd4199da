"""Reward models over HTTP: asked for, checked, pinned, shown to their owner."""

import hashlib
from typing import Any

import pytest
from fake_cluster import job_row
from reward_model_scenes import (
    CARD,
    CONTENT,
    LEXICAL,
    PAIRS,
    body,
    card,
    create,
    preferences,
    ready,
)
from starlette.testclient import TestClient
from support import MakeGroup, count_rows, upload_jsonl

from api_schemas.jobs import RewardModelJobInput, stages_of
from service.dependencies import AppState
from service.settings import Settings
from service.tables import JobRow, RewardModelRow
from workers import base_models

KEY = {"Idempotency-Key": "6f1c2a"}
UNKNOWN = "rm_" + "0" * 26


@pytest.fixture
def group(make_group: MakeGroup) -> TestClient:
    return make_group("teachers")[1]


def test_a_reward_model_waits_for_a_job_of_its_own(operator: TestClient, group: TestClient) -> None:
    for client in (operator, group):
        made = create(client)
        assert (made["status"], made["digest"], made["report_card"]) == ("queued", None, None)
        assert client.get(f"/v1/reward-models/{made['id']}").json() == made
        job = client.get(f"/v1/jobs/{made['job_id']}").json()
        named = [job[name] for name in ("kind", "round_id", "audit_id", "reward_model_id")]
        assert named == ["reward_model", None, None, made["id"]]
        assert [stage["name"] for stage in job["stages"]] == list(stages_of("reward_model"))
        assert [each["id"] for each in client.get("/v1/jobs").json()["data"]] == [job["id"]]
        events = client.get(f"/v1/jobs/{made['job_id']}/events").json()["data"]
        assert [event["message"] for event in events] == ["its owner asked for a reward model"]


def test_the_job_has_the_spec_and_what_every_name_in_it_stood_for(
    group: TestClient, state: AppState
) -> None:
    member = {"name": "bradley_terry", "base_model": "smollm2-135m-instruct"}
    spec = preferences(group, "ensemble", member=member, base_models=["tiny-enumerable"])
    other = upload_jsonl(group, "preferences", [*PAIRS, *PAIRS])
    made = create(group, spec, evaluation_file_id=other["id"])
    job = RewardModelJobInput.model_validate(job_row(state.database, made["job_id"]).input)
    sha256 = group.get(f"/v1/files/{spec['file_id']}").json()["sha256"]
    assert job.pinned.files == {spec["file_id"]: sha256, other["id"]: other["sha256"]}
    revision = base_models.resolve("tiny-enumerable").revision
    assert job.pinned.base_models == {"tiny-enumerable": revision}
    assert job.reward_model_id == made["id"]
    assert job.evaluation_file_id == other["id"]
    assert job.reward_model.model_dump(mode="json") == made["reward_model"]


def test_reward_models_are_listed_newest_first_with_their_cards(
    group: TestClient, state: AppState
) -> None:
    first = ready(group, state)
    made = [first["id"], *(create(group, name=f"model {i}")["id"] for i in range(2))]
    page = group.get("/v1/reward-models", params={"limit": 2}).json()
    assert [each["id"] for each in page["data"]] == made[:0:-1]
    rest = group.get("/v1/reward-models", params={"after": page["last_id"]}).json()
    assert (page["has_more"], rest["has_more"], rest["data"]) == (True, False, [first])


def test_a_reward_model_asked_for_twice_under_one_key_is_one(
    group: TestClient, state: AppState
) -> None:
    first = group.post("/v1/reward-models", json=body(), headers=KEY)
    again = group.post("/v1/reward-models", json=body(), headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = group.post("/v1/reward-models", json=body(name="Autumn"), headers=KEY)
    assert other.status_code == 422
    assert (count_rows(state, RewardModelRow), count_rows(state, JobRow)) == (1, 1)


def test_a_finished_reward_model_shows_its_card_and_can_be_downloaded(
    group: TestClient, state: AppState
) -> None:
    found = ready(group, state)
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert (found["status"], found["digest"]) == ("succeeded", digest)
    assert found["report_card"] == card().model_dump(mode="json")
    url = f"/v1/reward-models/{found['id']}"
    drawn = group.get(f"{url}/report_card.svg")
    assert (drawn.status_code, drawn.content) == (200, CARD)
    assert drawn.headers["Content-Type"] == "image/svg+xml"
    assert drawn.headers["Content-Security-Policy"].startswith("default-src 'none'")
    got = group.get(f"{url}/content")
    assert (got.status_code, got.content) == (200, CONTENT)
    assert (got.headers["ETag"], got.headers["X-Content-Type-Options"]) == (
        f'"{digest}"',
        "nosniff",
    )
    assert found["id"] in got.headers["Content-Disposition"]
    part = group.get(f"{url}/content", headers={"Range": "bytes=1-8"})
    assert (part.status_code, part.content) == (206, CONTENT[1:9])
    assert group.get(f"{url}/content", headers={"Range": "bytes=999-"}).status_code == 416
    job = group.get(f"/v1/jobs/{found['job_id']}").json()
    assert (job["status"], job["stages"][-1]["digest"]) == ("succeeded", digest)


@pytest.mark.parametrize("part", ["report_card.svg", "content"])
def test_what_a_job_has_yet_to_make_is_a_conflict(group: TestClient, part: str) -> None:
    made = create(group)
    refused = group.get(f"/v1/reward-models/{made['id']}/{part}")
    assert (refused.status_code, refused.json()["code"]) == (409, "reward_model_not_ready")
    assert f"its job {made['job_id']} is queued" in refused.json()["detail"]


def test_a_reward_model_without_data_has_no_card_to_draw(
    group: TestClient, state: AppState
) -> None:
    found = ready(group, state, report_card=None, plot_sha256=None)
    assert found["report_card"] is None
    refused = group.get(f"/v1/reward-models/{found['id']}/report_card.svg")
    assert refused.status_code == 404
    assert "no evaluation_file_id was given" in refused.json()["detail"]


def test_a_file_must_be_ones_own_and_of_the_purpose_that_the_field_needs(
    group: TestClient, make_group: MakeGroup, state: AppState
) -> None:
    _, other = make_group("pupils")
    of_another = preferences(other)["file_id"]
    of_prompts = upload_jsonl(group, "prompts", [{"prompt": "a"}])["id"]
    adapter = {"type": "adapter", "base_model": "tiny-enumerable", "lora_alpha": 8.0}
    averaged = preferences(group, "weight_averaged")
    for file_id, status in [(of_another, 404), ("file_" + "0" * 26, 404), (of_prompts, 422)]:
        for request, param in [
            (body(averaged | {"file_id": file_id}), "reward_model.file_id"),
            (body(adapter | {"file_id": file_id}), "reward_model.file_id"),
            (
                body(averaged | {"method": averaged["method"] | {"checkpoints": [file_id]}}),
                "reward_model.method.checkpoints[0]",
            ),
            (body(evaluation_file_id=file_id), "evaluation_file_id"),
        ]:
            refused = group.post("/v1/reward-models", json=request)
            assert (refused.status_code, refused.json()["param"]) == (status, param), refused.text
    assert count_rows(state, JobRow) == 0


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"name": "bradley_terry", "base_model": "/etc"}, "reward_model.method.base_model"),
        ({"name": "weight_averaged", "base_model": "a/b"}, "reward_model.method.base_model"),
        ({"name": "embedding", "encoder": "../weights"}, "reward_model.method.encoder"),
        ({"name": "pairwise_calibrated", "encoder": "x"}, "reward_model.method.encoder"),
        (
            {"name": "ensemble", "base_models": ["tiny-enumerable", "/etc"]},
            "reward_model.method.base_models[1]",
        ),
        (
            {"name": "ensemble", "member": {"name": "embedding", "encoder": "/etc"}},
            "reward_model.method.member.encoder",
        ),
    ],
)
def test_a_base_model_that_the_operator_did_not_allow_is_not_even_looked_for(
    group: TestClient,
    state: AppState,
    monkeypatch: pytest.MonkeyPatch,
    method: dict[str, Any],
    param: str,
) -> None:
    spec = preferences(group) | {"method": method}

    def resolve(name: str) -> base_models.ResolvedBaseModel:
        assert name == "tiny-enumerable", "a name that is not allowed was looked for"
        return found

    found = base_models.resolve("tiny-enumerable")
    monkeypatch.setattr(base_models, "resolve", resolve)
    refused = group.post("/v1/reward-models", json=body(spec))
    assert (refused.status_code, refused.json()["param"]) == (422, param)
    assert refused.json()["code"] == "unknown_base_model"
    assert "TRUTHTUNE_REWARD_BASE_MODELS" in refused.json()["detail"]
    assert count_rows(state, JobRow) == 0


def test_the_allowed_base_models_are_names_with_commas_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRUTHTUNE_REWARD_BASE_MODELS", "tiny-enumerable, /models/mine,")
    assert Settings().reward_base_model_names == ("tiny-enumerable", "/models/mine")


def test_an_allowed_base_model_that_is_not_there_is_named(
    group: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> base_models.ResolvedBaseModel:
        raise OSError(f"no weights of {name}")

    monkeypatch.setattr(base_models, "resolve", broken)
    spec = preferences(group, "bradley_terry", base_model="tiny-enumerable")
    refused = group.post("/v1/reward-models", json=body(spec)).json()
    assert refused["param"] == "reward_model.method.base_model"
    assert "OSError: no weights of tiny-enumerable" in refused["detail"]


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        (body(LEXICAL | {"features": []}), "reward_model.features"),
        (
            body(LEXICAL | {"features": [{"type": "regex", "pattern": "("}]}),
            "reward_model.features[0].pattern",
        ),
        (body({"type": "trained", "reward_model_id": UNKNOWN}), "reward_model"),
        (body({"type": "oracle"}), "reward_model"),
        (body(name=" "), "name"),
        (body(name="n" * 101), "name"),
        (body(colour="red"), "colour"),
        ({"name": "a"}, "reward_model"),
    ],
)
def test_a_reward_model_that_cannot_work_is_refused(
    group: TestClient, state: AppState, request_body: Any, param: str
) -> None:
    refused = group.post("/v1/reward-models", json=request_body)
    assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert count_rows(state, RewardModelRow) == 0


def test_a_method_without_members_cannot_be_a_mixture(group: TestClient) -> None:
    spec = preferences(group) | {"members": "mixture"}
    refused = group.post("/v1/reward-models", json=body(spec)).json()
    assert refused["param"] == "reward_model.members"
    assert "'tfidf_bradley_terry' has no members" in refused["detail"]


def test_an_unknown_reward_model_is_not_found(group: TestClient) -> None:
    for part in ("", "/content", "/report_card.svg", "/rerankings"):
        assert group.get(f"/v1/reward-models/{UNKNOWN}{part}").status_code == 404
