"""Quotes: how much a round does is counted exactly, and the rest is measured and extrapolated."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import InProcess, TinyRound

from api_schemas.errors import RoundFailed
from api_schemas.jobs import QuoteJobInput
from api_schemas.quotes import QuoteCreate, QuoteResult
from api_schemas.rounds import RoundCreate
from workers.quoting import calibration
from workers.quoting.calibration import Calibration
from workers.quoting.choice import spread
from workers.quoting.extrapolation import MACHINE_NOISE, Cost, Timing, exactly, grown, total
from workers.quoting.plan import Plan, plan
from workers.quoting.result import quote
from workers.quoting.trial import Size, size_within, whole_size
from workers.stages.context import StageContext, TaskContext
from workers.stages.run import STAGE_FUNCTIONS

MakeRound = Callable[..., TinyRound]


def rules(**changes: Any) -> RoundCreate:
    announced = {
        "name": "A round",
        "base_model": "tiny-enumerable",
        "prompts_file_id": "file_" + "0" * 26,
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "training": {"steps": 12, "prompts_per_step": 4, "samples_per_prompt": 8},
        "max_group_size": 10,
        "price_per_unit_micro_units": 1_000_000,
    }
    return RoundCreate.model_validate(announced | changes)


def planned(groups: int = 3, prompts: int = 24, responses: int = 32, **changes: Any) -> Plan:
    return plan(rules(**changes), groups, prompts, responses)


def found(**changes: Any) -> Calibration:
    """Every unit of work takes a second; a pass a tenth, a hundredth a model, a fifth for KL."""
    second = Cost(Timing(1, 1.0), Timing(2, 2.0))
    made = Calibration(
        device="CPU core",
        devices=2,
        process_seconds=5.0,
        load_seconds=3.0,
        plan=planned(),
        sampling=second,
        sampled_rows=256,
        enumerating=None,
        step=second,
        passes=calibration.Passes(once=0.1, each=0.01, kl=0.2),
        scoring=second,
        solving=second,
        response_bytes=100.0,
        text_bytes=30.0,
        adapter_bytes=1000,
        checkpoint_bytes=5000.0,
        seconds=10.0,
    )
    return replace(made, **changes)


def test_an_affine_cost_is_found_exactly_from_two_measurements() -> None:
    cost = Cost(Timing(10, 3 + 0.5 * 10), Timing(40, 3 + 0.5 * 40))
    at_1000 = cost.of(1000)
    assert at_1000.expected == pytest.approx(3 + 0.5 * 1000)
    assert at_1000.high == pytest.approx(23 * 1000 / 40 * (1 + MACHINE_NOISE)), "if all of it grew"
    assert at_1000.low == pytest.approx(503 * (1 - MACHINE_NOISE))
    assert cost.of(0).expected == 0


def test_what_was_measured_in_whole_is_not_extrapolated() -> None:
    assert Cost(Timing(10, 1.0), Timing(40, 7.0)).of(40) == exactly(7.0)


def test_where_more_work_took_less_time_cost_is_taken_to_be_proportional() -> None:
    cost = Cost(Timing(1, 5.0), Timing(4, 2.0))
    assert cost.of(8) == exactly(4.0)


def test_a_range_always_holds_what_is_expected() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        u1, u2 = np.sort(rng.uniform(1, 100, 2))
        cost = Cost(Timing(u1, rng.uniform(0.1, 9)), Timing(u2, rng.uniform(0.1, 9)))
        estimate = cost.of(rng.uniform(0.1, 1000))
        assert estimate.low <= estimate.expected <= estimate.high


@pytest.mark.parametrize(("units", "seconds"), [(0, 1.0), (1, 0.0), (-1, 1.0), (1, float("nan"))])
def test_no_measurement_is_of_nothing(units: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Timing(units, seconds)


def test_sums_of_ranges_are_the_ranges_of_sums() -> None:
    both = total([exactly(4.0), exactly(8.0)])
    assert (both.expected, both.low, both.high) == (12.0, 9.0, 15.0)


@pytest.mark.parametrize(
    ("changes", "batches", "evaluated", "candidates"),
    [
        # The grand world and three without a group; evaluated after steps 4, 8 and 12.
        ({}, ((12, 4),), 12, 4),
        ({"counterfactuals": "closed_form"}, ((12, 1),), 3, 1),
        ({"counterfactuals": "checkpoints"}, ((12, 1),), 3, 3),
        # Four steps of all, evaluated once, then eight of the grand world, evaluated twice.
        ({"counterfactuals": "early_stop", "counterfactual_steps": 4}, ((4, 4), (8, 1)), 6, 4),
        # Three trainings; C(3 + 4 − 1, 4) = 15 mixes.
        (
            {
                "training": {"method": "rewarded_soups", "single": {"steps": 12}},
                "counterfactuals": "soup",
            },
            ((12, 3),),
            9,
            15,
        ),
    ],
)
def test_the_plan_counts_what_the_announced_methods_train_and_value(
    changes: dict[str, Any], batches: Any, evaluated: int, candidates: int
) -> None:
    made = planned(**changes)
    assert made.batches == batches
    assert made.trainings == batches[0][1]
    assert (made.evaluated, made.candidates) == (evaluated, candidates)


def test_a_grid_of_mixes_beyond_its_budget_fails_the_quote_as_it_would_the_round() -> None:
    training = {"method": "rewarded_soups"}
    with pytest.raises(RoundFailed, match="max_candidates"):
        planned(groups=9, training=training, counterfactuals="soup")


def test_a_quote_multiplies_what_was_measured_by_what_the_plan_counts() -> None:
    made = quote(found(), QuoteCreate(), "EUR", shards=1, train_workers=1)
    seconds = {each.stage: each.seconds.expected for each in made.stages}
    assert seconds["sample_pool"] == pytest.approx(24 * (32 + 8)), "a second a response"
    assert seconds["score"] == pytest.approx(3 * 24 * (32 + 8))
    assert seconds["solve"] == pytest.approx(4 * 24 * 32 * 3)
    # 12 steps of 4 worlds × 4 prompts × 8 responses, and 24·8 held-out responses: the shared
    # layers once, the initial model once, 4 worlds three times each.
    assert seconds["train"] == pytest.approx(12 * 4 * 4 * 8 + 24 * 8 * (0.1 + 0.01 * 13))
    # 5 models on the pool, 2 on the held-out pool, and 8 fresh samples, drawn and with their KL.
    passes = 32 * (0.1 + 0.05) + 8 * (0.1 + 0.02) + 8 * 0.2
    assert seconds["value"] == pytest.approx(24 * (passes + 8))
    assert made.start.seconds.expected == 4 * 5 + 3 * 3
    assert made.seconds.expected == pytest.approx(sum(seconds.values()) + 29)
    used = sum(seconds.values()) * 2 - seconds["score"] - seconds["solve"]  # a core each
    assert made.device_hours.expected == pytest.approx(used / 3600)
    assert made.cost is None


def test_the_pool_of_an_enumerated_space_is_listed_once_for_both() -> None:
    listed = replace(found().plan, rules=rules(pool={"method": "enumerate"}), holdout=0)
    cost = Cost(Timing(1, 2.0), Timing(4, 8.0))
    made = quote(found(plan=listed, enumerating=cost), QuoteCreate(), "EUR", 1, 1)
    seconds = {each.stage: each.seconds.expected for each in made.stages}
    assert seconds["sample_pool"] == pytest.approx(24 * 2)
    assert seconds["score"] == pytest.approx(3 * 24 * 2 * 32)


def test_more_machines_take_less_time_and_as_many_device_hours() -> None:
    one, four = (quote(found(), QuoteCreate(), "EUR", n, n) for n in (1, 4))
    for alone, together in zip(one.stages, four.stages, strict=True):
        shared = 4 if alone.stage in ("sample_pool", "train", "value") else 1
        assert together.seconds.expected == pytest.approx(alone.seconds.expected / shared)
    assert four.device_hours.expected == pytest.approx(one.device_hours.expected)


def test_a_cost_is_the_device_hours_times_their_price_rounded_up() -> None:
    asked = QuoteCreate(price_per_device_hour_micro_units=7)
    made = quote(found(), asked, "EUR", 1, 1)
    assert made.cost is not None
    assert 0 <= made.cost.expected_micro_units - 7 * made.device_hours.expected < 1
    assert made.cost.low_micro_units <= made.cost.expected_micro_units <= made.cost.high_micro_units


def test_storage_is_counted_by_what_the_stages_leave() -> None:
    made = quote(found(), QuoteCreate(), "EUR", 1, 1)
    bytes_of = {each.what: each.bytes for each in made.storage}
    pool, holdout = 24 * 32, 24 * 8
    assert bytes_of == {
        "pool": (pool + holdout) * (2 * 100 + 30),
        "scores": 3 * (pool + holdout) * 8,
        "log_probs": (5 * pool + 2 * holdout) * 8,
        "adapters": (4 + 2) * 1000,
        "checkpoints": 2 * 4 * 5000,
    }
    assert made.storage_bytes == sum(bytes_of.values())


def test_a_step_is_tried_in_whole_where_the_budget_allows_and_else_on_less_of_everything() -> None:
    made = planned()
    assert whole_size(made) == Size(4, 4, 8)
    sizes = [size_within(made, rows) for rows in (128, 127, 64, 16, 4, 1)]
    assert sizes == [
        Size(4, 4, 8),
        Size(4, 3, 8),
        Size(4, 2, 8),
        Size(2, 1, 8),
        Size(1, 1, 4),
        Size(1, 1, 2),
    ]


def test_measurements_grow_to_the_whole_or_as_far_as_the_seconds_allow() -> None:
    measured: list[int] = []

    def second_a_unit(units: int) -> Timing:
        measured.append(units)
        return Timing(units, float(units))

    assert grown(second_a_unit, 4, 100, 1000.0) == Cost(Timing(64, 64.0), Timing(100, 100.0))
    assert measured == [4, 16, 64, 100]
    assert grown(second_a_unit, 4, 100, 70.0) == Cost(Timing(16, 16.0), Timing(64, 64.0))
    assert grown(second_a_unit, 4, 100, 1.0) == Cost(Timing(4, 4.0), Timing(4, 4.0))
    assert grown(second_a_unit, 4, 3, 1.0) == Cost(Timing(3, 3.0), Timing(3, 3.0))


def test_those_that_stand_for_all_are_evenly_apart() -> None:
    assert spread(range(100), 4) == [12, 37, 62, 87]
    assert spread([1, 2], 5) == [1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "pool": {"samples_per_prompt": 8, "fresh_samples_per_prompt": 2},
            "training": {"method": "pool_gradient", "steps": 4, "top_layers": None},
        },
    ],
)
def test_a_calibration_on_the_tiny_model_quotes_every_stage(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """And what was stored by the round itself is no more than quoted."""
    monkeypatch.setattr(calibration, "_IMPORTS", "pass")
    monkeypatch.setattr(calibration, "BUDGET_SECONDS", 0.2)
    made = tiny_round(**changes)
    job = QuoteJobInput(
        quote_id="quo_" + "a" * 26,
        round_id=made.job.round_id,
        announcement=made.job.announcement,
        settings=QuoteCreate(price_per_device_hour_micro_units=10**9),
        groups=3,
    )
    events: list[Any] = []
    task = TaskContext(job, made.artifacts, events.append)
    context = StageContext(job, made.artifacts, events.append, {}, InProcess(task))
    result = QuoteResult.model_validate(
        made.artifacts.get_json(STAGE_FUNCTIONS["calibrate"](context))
    )
    assert [each.stage for each in result.stages] == [
        "sample_pool",
        "score",
        "solve",
        "train",
        "value",
    ]
    assert all(each.seconds.expected > 0 for each in result.stages)
    assert (result.groups, result.prompts, result.trainings) == (3, 4, 4)
    assert result.cost is not None
    assert result.cost.expected_micro_units > 0
    assert [event.data["done"] for event in events] == [1, 2, 3, 4]
    made.run("fit_rewards", "sample_pool", "score", "train")
    quoted = {each.what: each.bytes for each in result.storage}
    pools = made.artifacts.get_json(made.digests["sample_pool"])
    parts = {pools["pool"], pools["holdout"]}
    parts.update(*(texts["blocks"] for texts in pools["texts"].values()))
    stored = sum(len(made.artifacts.get(digest)) for digest in parts)
    assert 0.2 * quoted["pool"] <= stored <= 1.1 * quoted["pool"]
    trained = made.artifacts.get_json(made.digests["train"])["trained"]
    adapters = sum(len(made.artifacts.get(each["state"])) for each in trained)
    assert adapters <= quoted["adapters"]
