"""The form that announces a round: it asks for all of an announcement, and nothing else."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from api_schemas.rounds import RoundCreate
from api_schemas.training import PolicyGradient, PoolGradient, RewardedSoups
from service.dashboard.forms import (
    FieldProblem,
    micro_units_of,
    moment_of,
    nested,
    number_of,
)
from service.dashboard.operator import round_fields
from service.dashboard.operator.round_form import announcement_of, training_of

FILE = "file_" + "0" * 26
FILLED = round_fields.defaults() | {"name": "Spring", "prompts_file_id": FILE}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        for part in get_args(annotation):
            yield from _models(part)


def _leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        below = list(_models(field.annotation))
        for inner in below:
            yield from _leaves(inner, f"{path}{name}.")
        if not below:
            yield path + name


def test_the_form_has_every_field_of_an_announcement() -> None:
    wanted = {
        # A soup's own training is asked for beside the other methods' fields.
        name if name == "training.single.method" else name.replace(".single.", ".")
        for name in _leaves(RoundCreate)
    }
    assert {field.name for field in round_fields.fields()} | {"prompts_file_id"} == wanted


def test_what_the_form_is_filled_with_announces_the_apis_own_defaults() -> None:
    least = {
        "name": "Spring",
        "base_model": "smollm2-135m-instruct",
        "prompts_file_id": FILE,
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "max_group_size": 100,
        "price_per_unit_micro_units": 1_000_000,
    }
    announced = RoundCreate.model_validate(announcement_of(FILLED))
    assert announced == RoundCreate.model_validate(least)


def test_every_method_announces_its_own_fields_alone() -> None:
    changed = {
        "training.steps": "30",
        "training.trust_region": "0.25",
        "training.grid_steps": "3",
        "training.elastic_reset.every": "10",
        "training.top_layers": "",
    }

    def training(method: str, **more: str) -> Any:
        chosen = {"training.method": method, "counterfactuals": "bound"} | more
        return RoundCreate.model_validate(announcement_of(FILLED | changed | chosen)).training

    policy = training("policy_gradient")
    assert isinstance(policy, PolicyGradient)
    assert policy.elastic_reset is not None
    assert (policy.steps, policy.top_layers, policy.elastic_reset.every) == (30, None, 10)
    pool = training("pool_gradient")
    assert isinstance(pool, PoolGradient)
    assert (pool.steps, pool.trust_region) == (30, 0.25)
    soups = training("rewarded_soups", **{"training.single.method": "pool_gradient"})
    assert isinstance(soups, RewardedSoups)
    assert soups.grid_steps == 3
    assert isinstance(soups.single, PoolGradient)
    assert (soups.single.steps, soups.single.trust_region) == (30, 0.25)


def test_an_unknown_method_is_the_apis_to_refuse() -> None:
    assert training_of({"method": "alchemy"})["method"] == "alchemy"


@pytest.mark.parametrize("text", ["abc", "1e999", "nan", "9" * 400])
def test_what_is_no_number_is_sent_as_it_is(text: str) -> None:
    assert number_of(text) == text
    with pytest.raises(ValidationError, match="max_group_size"):
        RoundCreate.model_validate(announcement_of(FILLED | {"max_group_size": text}))


def test_amounts_are_exact() -> None:
    cases = {
        "0.1": 100_000,
        "1": 1_000_000,
        "-0.000001": -1,
        "−2.50": -2_500_000,
        " 3.0 ": 3_000_000,
    }
    assert {text: micro_units_of({"amount": text}, "amount") for text in cases} == cases


@pytest.mark.parametrize("text", ["", "a lot", "0.0000001", "inf", "1,5", "1e999999999", "1" * 30])
def test_an_amount_without_millionths_names_its_field(text: str) -> None:
    with pytest.raises(FieldProblem) as raised:
        micro_units_of({"amount": text}, "amount")
    assert raised.value.problem.param == "amount"


def test_moments_are_in_utc_and_names_become_bodies() -> None:
    assert moment_of("2030-01-01T12:00") == "2030-01-01T12:00:00Z"
    assert moment_of("2030-01-01T12:00:30") == "2030-01-01T12:00:30Z"
    assert nested({"a": 1, "b.c": 2, "b.d.e": 3}) == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
