"""A receipt's valuation, computed again from the adapter and the pool of a real tiny round."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import PROMPTS, TASTES, TinyRound
from members_support import fitted, with_trained
from revaluation_support import Holder, failures, found_by
from safetensors.torch import load_file, save_file

from api_schemas.reward_models import PinnedInputs, PreferenceDataSpec
from client import cli
from workers.pool.pool import Pool

MakeRound = Callable[..., TinyRound]
EXACT = ("--tolerance", "1e-7")  # the pool's own weights were scaled to sum 1, by 1e-8


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> TinyRound:
    """A settled round that prices the delivered model."""
    made = TinyRound(tmp_path_factory.mktemp("bound"), counterfactuals="bound")
    made.run()
    return made


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_group_of_a_round_that_prices_the_delivered_model_can_compute_its_value(
    bound: TinyRound, tmp_path: Path, place: int
) -> None:
    result = Holder(bound, tmp_path, place).verify(*EXACT)
    found = found_by(result)
    assert result.exit_code == 0, result.stdout
    for check in ("adapter", "pool", "pool texts", "pool weights", "valuation", "divergence"):
        assert found[check][0] == "checked", found[check]


@pytest.mark.parametrize(
    "changes",
    [
        {"counterfactuals": "retrain"},
        {"pool": {"method": "sample", "samples_per_prompt": 24}},
        {"regularizer": {"type": "l2", "coefficient": 4.0}},
        {
            "training": {
                "method": "rewarded_soups",
                "single": {"steps": 4, "top_layers": None},
                "interpolation": "delta",  # at a rank of its own
            },
            "counterfactuals": "soup",
        },
    ],
    ids=["retrain", "sampled", "l2", "soup"],
)
def test_other_methods_drawn_pools_and_other_distances_are_computed_as_the_round_did(
    tiny_round: MakeRound, tmp_path: Path, changes: dict[str, Any]
) -> None:
    made = tiny_round(**changes)
    made.run()
    found = found_by(Holder(made, tmp_path).verify(*EXACT))
    assert found["valuation"][0] == found["divergence"][0] == "checked", found


def test_a_valuation_off_by_more_than_the_tolerance_fails_even_if_it_adds_up(
    bound: TinyRound, tmp_path: Path
) -> None:
    holder = Holder(bound, tmp_path)
    holder.body["valuation"] += 0.02
    holder.body["utility"] += 0.02 * holder.body["size"]
    holder.sign()
    assert failures(holder.verify()) == {"valuation"}
    assert failures(holder.verify("--tolerance", "0.021")) == set()


def test_a_divergence_of_another_model_fails(bound: TinyRound, tmp_path: Path) -> None:
    holder = Holder(bound, tmp_path)
    holder.body["divergence"] += 0.06
    holder.sign()
    assert failures(holder.verify()) == {"divergence"}


def test_another_adapter_than_the_priced_one_is_seen_through_even_if_its_digest_is_signed(
    bound: TinyRound, tmp_path: Path
) -> None:
    """A service that delivers the initial model and prices the trained one."""
    holder = Holder(bound, tmp_path)
    weights = holder.adapter / "adapter_model.safetensors"
    _zero(weights)
    assert failures(holder.verify(*EXACT)) == {"adapter"}
    detail = found_by(holder.verify())["adapter"][1]
    holder.body["adapter_digest"] = detail.split(": ")[-1]
    holder.sign()
    assert failures(holder.verify(*EXACT)) == {"valuation", "divergence"}


def test_under_closed_form_the_delivered_models_worth_is_told_and_the_stated_one_bounded(
    tiny_round: MakeRound, tmp_path: Path
) -> None:
    made = tiny_round(counterfactuals="closed_form")
    made.run()
    holder = Holder(made, tmp_path)
    found = found_by(holder.verify(*EXACT))
    assert found["valuation"][0] == "not_checked"
    assert "all groups' reports" in found["valuation"][1]
    assert found["valuation bounds"][0] == "checked"
    for impossible in (0.9, 0.001):  # in [0, 1], but not within the stated divergence
        lie = impossible - holder.body["valuation"]
        holder.body["valuation"] += lie
        holder.body["utility"] += lie * holder.body["size"]
        holder.sign()
        assert failures(holder.verify()) == {"valuation bounds"}


def test_a_valuation_on_a_mixture_is_said_to_rest_on_more_than_the_pool(
    tiny_round: MakeRound, tmp_path: Path
) -> None:
    made = tiny_round(pool={"method": "sample", "samples_per_prompt": 24}, value_on="mixture")
    made.run()
    holder = Holder(made, tmp_path)
    if holder.body["value_on"] != "mixture":
        pytest.fail("the scene needs a model that was trained")
    found = found_by(holder.verify(*EXACT))
    assert found["valuation"][0] == "not_checked"
    assert "samples of all candidates" in found["valuation"][1]


def test_a_pool_whose_weights_are_not_the_initial_models_is_seen_through(
    bound: TinyRound, tmp_path: Path
) -> None:
    """Weights swapped within a prompt still sum to 1; only the model itself tells."""
    holder = Holder(bound, tmp_path)
    _swap_weights(holder.pool)
    detail = found_by(holder.verify())["pool"][1]
    holder.body["pool_digest"] = detail.split(" ")[-1]
    holder.sign()
    assert "pool weights" in failures(holder.verify(*EXACT))


def test_a_pool_whose_texts_are_not_its_tokens_is_seen_through(
    bound: TinyRound, tmp_path: Path
) -> None:
    holder = Holder(bound, tmp_path)
    _swap_texts(holder.pool)
    holder.body["pool_digest"] = found_by(holder.verify())["pool"][1].split(" ")[-1]
    holder.sign()
    assert "pool texts" in failures(holder.verify(*EXACT))


@pytest.mark.parametrize("name", ["pool", "adapter/adapter_model.safetensors"])
def test_files_that_are_signed_but_no_pool_or_adapter_fail_the_check(
    bound: TinyRound, tmp_path: Path, name: str
) -> None:
    holder = Holder(bound, tmp_path)
    (holder.folder / name).write_bytes(b"\xff" * 100)
    found = found_by(holder.verify())
    holder.body["pool_digest"] = found["pool"][1].split(" ")[-1]
    holder.body["adapter_digest"] = found["adapter"][1].split(" ")[-1]
    holder.sign()
    assert failures(holder.verify()) == {"valuation"}


def test_a_reward_model_that_needs_files_takes_them_as_data_or_is_not_checked(
    tiny_round: MakeRound, tmp_path: Path
) -> None:
    pairs = [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        for prompt in PROMPTS
        for chosen in ("red", "red red", "red sun")
        for rejected in ("blue", "rain", "blue rain", "green")
    ]
    data = "".join(json.dumps(pair) + "\n" for pair in pairs).encode()
    made = _with_preferences(tiny_round(counterfactuals="bound"), data)
    made.run()
    holder = Holder(made, tmp_path)
    found = found_by(holder.verify(*EXACT))
    assert found["valuation"][0] == "not_checked"
    assert "--data" in found["valuation"][1]
    file = tmp_path / "preferences.jsonl"
    assert found_by(holder.verify("--data", str(file)))["valuation"][0] == "not_checked"
    file.write_bytes(data)
    assert found_by(holder.verify(*EXACT, "--data", str(file)))["valuation"][0] == "checked"


def test_without_the_workers_the_valuation_is_not_checked(
    tiny_round: MakeRound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_round(counterfactuals="bound")
    made.run()
    holder = Holder(made, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(cli, "_MOUNTED", ("not_installed.cli",))
        absent = holder.verify()
    with monkeypatch.context() as patched:
        patched.setattr("workers.receipts.revaluation.revalue", _without_torch)
        bare = holder.verify()
    for result in (absent, bare):
        assert result.exit_code == 0
        assert found_by(result)["valuation"] == (
            "not_checked",
            "it runs the model: install truthtune[workers]",
        )


def _without_torch(*_: Any) -> None:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.mark.parametrize("members", ["aggregate", "mixture"])
def test_a_model_made_ahead_takes_its_content_as_data(
    tiny_round: MakeRound, tmp_path: Path, members: str
) -> None:
    model = fitted(TASTES[:2], [0.25, 0.75])
    made = with_trained(tiny_round(counterfactuals="bound"), model, members, size=4)
    made.run()
    content = tmp_path / "content"
    content.write_bytes(model.to_bytes())
    found = found_by(Holder(made, tmp_path).verify(*EXACT, "--data", str(content)))
    assert found["valuation"][0] == found["divergence"][0] == "checked", found


def _with_preferences(made: TinyRound, data: bytes) -> TinyRound:
    """The first group reports a reward model that is fitted to the data."""
    file_id = "file_" + "b" * 26
    spec = PreferenceDataSpec.model_validate(
        {
            "type": "preference_data",
            "file_id": file_id,
            "method": {"name": "tfidf_bradley_terry", "regularization": 1.0},
        }
    )
    pinned = PinnedInputs(files={file_id: made.artifacts.put(data)})
    first, *others = made.job.reports
    first = first.model_copy(update={"reward_model": spec, "pinned": pinned})
    made.job = made.job.model_copy(update={"reports": [first, *others]})
    return made


def _zero(weights: Path) -> None:
    tensors = {name: tensor * 0 for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})


def _swap_weights(file: Path) -> None:
    pool = Pool.from_bytes(file.read_bytes())
    file.write_bytes(replace(pool, log_q_XJ=pool.log_q_XJ[:, ::-1].copy()).to_bytes())


def _swap_texts(file: Path) -> None:
    pool = Pool.from_bytes(file.read_bytes())
    file.write_bytes(replace(pool, texts=[texts[::-1] for texts in pool.texts]).to_bytes())
