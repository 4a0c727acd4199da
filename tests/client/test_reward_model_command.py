"""`truthtune reward-model`, and the options of a report that name one, over scripted answers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Script

from api_schemas import examples
from api_schemas.reward_models import RewardModel

ROOT = Path(__file__).parent.parent.parent
DRAWING = b"<svg/>"
MODEL, FILE = examples.REWARD_MODEL, examples.PREFERENCES_FILE
MODEL_ID, JOB_ID, ROUND_ID = MODEL["id"], MODEL["job_id"], examples.ROUND["id"]
URL = f"/v1/reward-models/{MODEL_ID}"
JOB = examples.JOB | {
    "kind": "reward_model",
    "round_id": None,
    "reward_model_id": MODEL_ID,
    "status": "succeeded",
    "finished_at": "2030-01-07T09:01:00.000Z",
}
RERANKING = examples.RERANKING
CANDIDATES = {"prompt": "How?", "responses": ["No idea.", "Open Settings, please."]}


def answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


def events(last: str) -> Answer:
    event = examples.JOB_EVENT | {"sequence": 1, "type": last, "message": last}
    return Answer(200, f"data: {json.dumps(event)}\n\n".encode())


def truthtune(script: Script, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"TRUTHTUNE_URL": script.url, "TRUTHTUNE_API_KEY": "tt_grp_test"}
    command = [sys.executable, "-m", "client.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def lines_of(done: "subprocess.CompletedProcess[str]") -> list[str]:
    assert done.returncode == 0, done.stderr
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    return path


def test_a_reward_model_is_made_from_a_file_and_its_card_is_shown(
    script: Script, pairs: Path
) -> None:
    script.answers = [
        answer(FILE),
        answer(FILE | {"id": "file_" + "1" * 26}),
        answer(MODEL | {"status": "queued", "digest": None, "report_card": None}),
        events("job_succeeded"),
        answer(JOB),
        answer(MODEL),
    ]
    options = ["--preferences", pairs, "--method", "embedding", "--method-json", '{"epochs": 3}']
    done = truthtune(script, "reward-model", "create", "Spring", *options, "--evaluation", pairs)
    lines = lines_of(done)
    asked = json.loads(script.asked[2].body)
    assert (asked["name"], asked["evaluation_file_id"]) == ("Spring", "file_" + "1" * 26)
    assert asked["reward_model"]["file_id"] == FILE["id"]
    assert asked["reward_model"]["method"]["name"] == "embedding"
    assert asked["reward_model"]["method"]["epochs"] == 3
    remark = "95 % interval [0.625, 0.875], 40 pairs of 18 prompts"
    assert f"accuracy on held-out prompts 0.7500 0.0625 {remark}" in lines
    assert "calibration error 0.0625 0.0469 by chance alone" in lines
    assert "length correlation 0.1875" in lines
    left_out = "207 pairs of 88 prompts, without 1 duplicates, 2 unusable lines"
    assert f"{left_out}; fitted to 167 pairs, measured on 40" in lines
    assert f"id {MODEL_ID}" in lines
    assert "method tfidf_bradley_terry" in lines


def test_a_fit_that_fails_ends_the_command_with_1_and_its_reason(
    script: Script, pairs: Path
) -> None:
    failed = {"status": "failed", "error": {"code": "invalid_input", "message": "all are ties"}}
    script.answers = [answer(FILE), answer(MODEL), events("job_failed"), answer(JOB | failed)]
    done = truthtune(script, "reward-model", "create", "Spring", "--preferences", pairs)
    assert done.returncode == 1
    assert f"job {JOB_ID} failed: all are ties" in done.stderr


def test_an_uploaded_file_is_named_by_its_id_and_nothing_is_waited_for(script: Script) -> None:
    script.answers = [answer(MODEL)]
    options = ["--preferences", FILE["id"], "--no-wait", "--json"]
    done = truthtune(script, "reward-model", "create", "Spring", *options)
    assert json.loads(done.stdout) == MODEL
    assert [asked.path for asked in script.asked] == ["/v1/reward-models"]


def test_every_reward_model_can_be_shown_drawn_and_downloaded(
    script: Script, tmp_path: Path
) -> None:
    content = b'{"format": 2}\n'
    page = {"object": "list", "data": [MODEL], "has_more": False}
    page |= {"first_id": MODEL_ID, "last_id": MODEL_ID}
    script.answers = [answer(page), answer(page), answer(MODEL), Answer(200, DRAWING)]
    listed = lines_of(truthtune(script, "reward-model", "list"))
    assert any("0.750 [0.625, 0.875]" in line and MODEL_ID in line for line in listed)
    assert json.loads(truthtune(script, "reward-model", "list", "--json").stdout) == [MODEL]
    shown = truthtune(script, "reward-model", "show", MODEL_ID, "--json")
    assert RewardModel.model_validate_json(shown.stdout) == RewardModel.model_validate(MODEL)
    card, model = tmp_path / "card.svg", tmp_path / "model"
    assert truthtune(script, "reward-model", "card", MODEL_ID, "--out", card).returncode == 0
    assert card.read_bytes() == DRAWING
    digest = "sha256:8ddc7efcb4e4ec59b2d2b8bbdb0d0f5d6b2a0b7e2dd1bbfcfd3fe9b1d4d8d1a1"
    script.answers = [Answer(200, content), answer(MODEL | {"digest": digest})]
    refused = truthtune(script, "reward-model", "download", MODEL_ID, "--out", model)
    assert refused.returncode == 1
    assert f"expected was {digest}" in refused.stderr
    assert not model.exists()


def test_waiting_shows_the_reward_model_once_it_is_ready(script: Script) -> None:
    script.answers = [answer(MODEL), events("job_succeeded"), answer(JOB), answer(MODEL)]
    lines = lines_of(truthtune(script, "reward-model", "wait", MODEL_ID))
    assert "report card" in lines
    asked = [each.path for each in script.asked]
    assert asked == [URL, f"/v1/jobs/{JOB_ID}/events/stream", f"/v1/jobs/{JOB_ID}", URL]


def test_without_data_the_absence_of_a_card_is_explained(script: Script) -> None:
    script.answers = [answer(MODEL | {"report_card": None})]
    lines = lines_of(truthtune(script, "reward-model", "show", MODEL_ID))
    assert "no report card: there was no data to measure it on (--evaluation)" in lines


@pytest.mark.parametrize("from_file", [True, False])
def test_the_best_response_of_each_prompt_is_shown_with_the_kl_bound(
    script: Script, tmp_path: Path, from_file: bool
) -> None:
    queued = answer(RERANKING | {"status": "queued", "result": None})
    finished = [events("job_succeeded"), answer(JOB | {"kind": "reranking"}), answer(RERANKING)]
    script.answers = [queued, *finished]
    file = tmp_path / "candidates.jsonl"
    file.write_text(json.dumps(CANDIDATES) + "\n\n")
    given: list[str | Path] = [file]
    if not from_file:
        given = ["--prompt", "How?"]
        given += [part for text in CANDIDATES["responses"] for part in ("--response", text)]
    lines = lines_of(truthtune(script, "reward-model", "rerank", MODEL_ID, *given))
    assert json.loads(script.asked[0].body) == {"items": [CANDIDATES]}
    assert "+1.5000 Open Settings, please." in lines
    assert "at most 0.1931 nats from the model that the responses were drawn from" in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "a"], "give one of --spec, --preferences, --adapter, --trained"),
        (["create", "a", "--preferences", "x", "--adapter", "y"], "give one of --spec"),
        (["create", "a", "--adapter", "y", "--method", "embedding"], "not with --adapter"),
        (["create", "a", "--preferences", "x", "--base-model", "b"], "--base-model goes with"),
        (["create", "a", "--preferences", "absent.jsonl"], "absent.jsonl can't be read"),
        (["create", "a", "--preferences", "x", "--method", "magic"], "'magic'"),
        (["create", "a", "--preferences", "x", "--method-json", "{"], "--method-json is not JSON"),
        (["create", "a", "--preferences", "x", "--method-json", "3"], "is not a JSON object"),
        (["create", "a", "--preferences", "x", "--method-json", '{"seed": -1}'], "seed"),
        (["create", "a", "--adapter", "absent"], "adapter_config.json: can't be read"),
        (["rerank", MODEL_ID], "give either a file of candidates"),
        (["rerank", MODEL_ID, "absent.jsonl"], "absent.jsonl can't be read"),
        (["rerank", MODEL_ID, "README.md"], "README.md, line 1 is not JSON"),
        (["rerank", MODEL_ID, "--prompt", "a"], "--response: responses"),
    ],
)
def test_what_cannot_be_asked_for_is_named_before_the_service_is_asked(
    script: Script, arguments: list[str], words: str
) -> None:
    done = truthtune(script, "reward-model", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert script.asked == []


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        (
            ["--trained", MODEL_ID, "--members", "mixture"],
            {"type": "trained", "reward_model_id": MODEL_ID, "members": "mixture"},
        ),
        (
            ["--preferences", FILE["id"], "--method", "ensemble", "--members", "mixture"],
            {"type": "preference_data", "file_id": FILE["id"], "members": "mixture"},
        ),
    ],
)
def test_a_report_names_a_reward_model_in_every_way(
    script: Script, options: list[str], spec: dict[str, Any]
) -> None:
    script.answers = [answer(examples.REPORT)]
    done = truthtune(script, "report", "submit", ROUND_ID, "--size", "7", *options)
    assert done.returncode == 0, done.stderr
    sent = json.loads(script.asked[0].body)
    assert sent["size"] == 7
    assert {name: sent["reward_model"][name] for name in spec} == spec


def test_an_upload_shows_what_of_the_preferences_cannot_be_used(
    script: Script, pairs: Path
) -> None:
    script.answers = [answer(FILE), answer(FILE), answer(FILE)]
    upload = ["file", "upload", pairs, "--purpose", "preferences"]
    lines = lines_of(truthtune(script, *upload))
    for line in ("lines 210", "pairs 207", "empty replies 2", "line 17: a reply is empty"):
        assert line in lines
    assert "same texts 0" not in lines
    assert f"id {FILE['id']}" in lines
    assert json.loads(truthtune(script, *upload, "--json").stdout) == FILE
    assert lines_of(truthtune(script, "file", "show", FILE["id"])) == lines
