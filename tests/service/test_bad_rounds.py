"""Announcements and reports beyond what there is or may be are refused, naming the value."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support import (
    MakeGroup,
    OpenRound,
    UploadPrompts,
    count_rows,
    report_body,
    round_body,
)

from service.dependencies import AppState
from service.tables import ReportRow, RoundRow


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"training": {"steps": 10**30}}, "training.steps"),
        ({"training": {"top_layers": 10**30}}, "training.top_layers"),
        ({"training": {"evaluate_every": 2**63}}, "training.evaluate_every"),
        ({"training": {"patience": 2**63}}, "training.patience"),
        ({"regularizer": {"type": "kl", "coefficient": 10**400}}, "regularizer.coefficient"),
        ({"max_group_size": 2**63}, "max_group_size"),
        ({"price_per_unit_micro_units": 2**63}, "price_per_unit_micro_units"),
        ({"price_per_unit_micro_units": -1}, "price_per_unit_micro_units"),
        ({"seed": 2**31}, "seed"),
        ({"closes_at": "9999-12-31T23:59:59-01:00"}, "closes_at"),
        ({"opens_at": "0001-01-01T00:00:00+01:00"}, "opens_at"),
        ({"currency": "eur"}, "currency"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"base_model": "../" * 200}, "base_model"),
        ({"base_model": "/etc/passwd"}, "base_model"),
        ({"base_model": "/"}, "base_model"),
        ({"payment_rule": "free"}, "payment_rule"),
        ({"counterfactuals": None}, "counterfactuals"),
        ({"pool": {"method": "sample", "samples_per_prompt": 1}}, "pool.samples_per_prompt"),
    ],
)
def test_a_value_out_of_bounds_is_named(
    operator: TestClient,
    state: AppState,
    upload_prompts: UploadPrompts,
    changes: dict[str, Any],
    param: str,
) -> None:
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), **changes))
    assert (refused.status_code, refused.json()["param"]) == (422, param), refused.text
    assert count_rows(state, RoundRow) == 0


@pytest.mark.parametrize(
    ("groups", "grid_steps", "needed"),
    [(0, 8, 9), (1, 8, 9), (2, 8, 9), (3, 3, 10), (3, 8, 45), (4, 2, 10)],
)
def test_a_grid_of_soups_beyond_its_budget_is_refused_with_the_number_it_needs(
    operator: TestClient,
    make_group: MakeGroup,
    upload_prompts: UploadPrompts,
    groups: int,
    grid_steps: int,
    needed: int,
) -> None:
    """C(groups + grid_steps − 1, grid_steps) mixes, of two groups at least: C(10, 8) = 45."""
    for number in range(groups):
        make_group(f"group {number}")
    training = {"method": "rewarded_soups", "grid_steps": grid_steps}
    body = round_body(upload_prompts(), counterfactuals="soup")
    fitting = body | {"training": training | {"max_candidates": needed}}
    assert operator.post("/v1/rounds", json=fitting).status_code == 201
    over = body | {"training": training | {"max_candidates": needed - 1}}
    refused = operator.post("/v1/rounds", json=over)
    assert refused.status_code == 422
    assert f"has {needed} candidates" in refused.json()["detail"]
    if groups > 2:  # a grid too large for any two groups is refused before they are counted
        assert refused.json()["param"] == "training.max_candidates"
        assert f"for the {groups} groups" in refused.json()["detail"]


def test_an_unknown_base_model_is_told_which_there_are(
    operator: TestClient, upload_prompts: UploadPrompts
) -> None:
    body = round_body(upload_prompts(), base_model="smollm-9000b")
    refused = operator.post("/v1/rounds", json=body)
    assert refused.status_code == 422
    assert refused.json()["code"] == "unknown_base_model"
    assert "'smollm-9000b'" in refused.json()["detail"]
    assert "smollm2-135m-instruct" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("config", "tokenizer"),
    [("{", "{}"), ("{}", "{}"), ("[]", "{}"), ('{"max_position_embeddings": "long"}', "not json")],
)
def test_a_folder_that_holds_no_usable_model_is_refused(
    operator: TestClient, upload_prompts: UploadPrompts, tmp_path: Path, config: str, tokenizer: str
) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    for name, text in [
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("model.safetensors", ""),
    ]:
        (folder / name).write_text(text)
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), base_model=str(folder)))
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_base_model")


def test_a_prompt_beyond_the_context_is_named_with_both_lengths(
    operator: TestClient, upload_prompts: UploadPrompts
) -> None:
    file_id = upload_prompts(["red", "red " * 100])
    refused = operator.post("/v1/rounds", json=round_body(file_id))
    assert refused.status_code == 422
    assert refused.json()["code"] == "prompt_too_long"
    assert refused.json()["param"] == "prompts[1]"
    assert "100 tokens" in refused.json()["detail"]
    assert "context of 64" in refused.json()["detail"]


@pytest.mark.parametrize("size", [0, -1, 10**9 + 1, 10**30, 1.5, True, None, "seven", [3]])
def test_a_size_that_is_no_number_of_agents_is_refused(
    make_group: MakeGroup, open_round: OpenRound, state: AppState, size: Any
) -> None:
    _, group = make_group("teachers")
    url = f"/v1/rounds/{open_round(max_group_size=10**9)['id']}/report"
    refused = group.put(url, json=report_body() | {"size": size})
    assert (refused.status_code, refused.json()["param"]) == (422, "size")
    assert count_rows(state, ReportRow) == 0
