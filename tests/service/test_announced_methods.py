"""Which methods an announcement may combine, and what it is told of those it may not."""

from typing import Any

import pytest
from pydantic import ValidationError
from scenes import announcement
from starlette.testclient import TestClient
from support import UploadPrompts, count_rows, round_body

from api_schemas.rounds import Announcement, KLRegularizer, RoundCreate
from service.dependencies import AppState
from service.tables import RoundRow

SOUPS = {"method": "rewarded_soups"}


def announced(changes: dict[str, Any]) -> RoundCreate:
    return RoundCreate.model_validate(round_body("file_" + "a" * 26, **changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"regularizer": {"type": "l1", "coefficient": 1.0}}, "'l1'"),
        ({"regularizer": {"type": "l2", "coefficient": 0.0}}, "regularizer.l2.coefficient"),
        ({"training": {"method": "ppo"}}, "'ppo'"),
        ({"training": {"method": "pool_gradient", "samples_per_prompt": 8}}, "samples_per_prompt"),
        ({"training": {"method": "pool_gradient", "trust_region": 1.5}}, "trust_region"),
        ({"training": {"elastic_reset": {"every": 12}}}, "every 12 is not below steps 12"),
        ({"training": {"elastic_reset": {"mode": "soft"}}}, "mode"),
        ({"counterfactuals": "guess"}, "counterfactuals"),
        (
            {"counterfactuals": "early_stop"},
            "counterfactuals 'early_stop' needs it",
        ),
        (
            {"counterfactuals": "early_stop", "counterfactual_steps": 12},
            "12 is not below training.steps 12",
        ),
        ({"counterfactual_steps": 4}, "counterfactuals is 'closed_form': leave it out"),
        ({"counterfactuals": "soup"}, "only training 'rewarded_soups' makes"),
        ({"counterfactuals": "retrain", "training": SOUPS}, "trains reward models one by one"),
        (
            {"counterfactuals": "soup", "training": SOUPS, "payment_rule": "revenue_maximizing"},
            "would train other models to choose from",
        ),
        (
            {"counterfactuals": "checkpoints", "payment_rule": "revenue_maximizing"},
            "would train other models to choose from",
        ),
        (
            {"training": SOUPS | {"grid_steps": 64}, "counterfactuals": "soup"},
            "65 candidates for two groups alone, beyond max_candidates 64",
        ),
        ({"training": SOUPS | {"interpolation": "linear"}}, "interpolation"),
        ({"value_on": "mixture", "counterfactuals": "closed_form"}, "exists on the pool only"),
        ({"value_on": "mixture", "counterfactuals": "bound"}, "exists on the pool only"),
        (
            {
                "value_on": "mixture",
                "counterfactuals": "retrain",
                "regularizer": {"type": "l2", "coefficient": 1.0},
            },
            "can't be had with regularizer 'l2'",
        ),
        (
            {
                "value_on": "mixture",
                "payment_rule": "revenue_maximizing",
                "counterfactuals": "retrain",
            },
            "'revenue_maximizing' can't be had with value_on 'mixture'",
        ),
        (
            {
                "value_on": "mixture",
                "pool": {"method": "enumerate"},
                "counterfactuals": "retrain",
            },
            "lists everything",
        ),
    ],
)
def test_methods_that_do_not_fit_together_are_refused_with_the_reason(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        announced({"pool": {"method": "sample"}, **changes})
    (error,) = refused.value.errors()
    assert error["loc"][0] in {*changes, "counterfactual_steps"}
    place = ".".join(map(str, error["loc"]))
    assert told in f"{place}: {error['msg']} ({error['input']!r})"


def test_over_http_the_field_at_fault_is_named(
    operator: TestClient, state: AppState, upload_prompts: UploadPrompts
) -> None:
    changes = {"counterfactuals": "soup", "training": SOUPS, "payment_rule": "revenue_maximizing"}
    refused = operator.post("/v1/rounds", json=round_body(upload_prompts(), **changes))
    assert (refused.status_code, refused.json()["param"]) == (422, "payment_rule")
    assert "would train other models to choose from" in refused.json()["detail"]
    assert count_rows(state, RoundRow) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"regularizer": {"type": "l2", "coefficient": 3.0}},
        {"training": {"method": "pool_gradient"}},
        {"training": {"method": "policy_gradient", "steps": 12}},
        {"training": SOUPS | {"interpolation": "delta"}, "counterfactuals": "soup"},
        {"training": SOUPS | {"single": {"method": "pool_gradient"}}, "counterfactuals": "bound"},
        {"counterfactuals": "early_stop", "counterfactual_steps": 4},
        {"counterfactuals": "checkpoints"},
        {"payment_rule": "revenue_maximizing", "counterfactuals": "closed_form"},
        {
            "value_on": "mixture",
            "pool": {"method": "sample"},
            "counterfactuals": "retrain",
        },
    ],
)
def test_every_method_can_be_announced(changes: dict[str, Any]) -> None:
    made = announced(changes).model_dump(mode="json")
    for name, value in changes.items():
        if isinstance(value, dict):
            assert made[name].items() >= {k: v for k, v in value.items() if k != "single"}.items()
        else:
            assert made[name] == value


def test_settings_without_a_method_are_those_of_the_default_method() -> None:
    made = announced({"training": {"steps": 3}, "regularizer": {"coefficient": 2.0}})
    assert made.training.method == "policy_gradient"
    assert made.regularizer == KLRegularizer(coefficient=2.0)


def test_automatic_invoicing_leaves_digests_as_they_were_before_there_was_a_choice() -> None:
    without = announcement().model_dump(mode="json")
    assert "invoicing" not in without
    assert announcement(invoicing="automatic").model_dump(mode="json") == without
    assert Announcement.model_validate(without).invoicing == "automatic"
    manual = announcement(invoicing="manual").model_dump(mode="json")
    assert manual == without | {"invoicing": "manual"}
