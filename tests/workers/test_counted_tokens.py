"""Stages tell how many response tokens they sampled or trained on, for tokens a second."""

from collections.abc import Callable

from conftest import PROMPTS, TinyRound

from workers.stages.sample_pool import load_pools

MakeRound = Callable[..., TinyRound]
WORLDS = 4
TRAINING = {"steps": 2, "prompts_per_step": len(PROMPTS), "patience": 100, "top_layers": None}


def counted(made: TinyRound, stage: str) -> list[int]:
    data = [event.data for event in made.events if event.data.get("stage") == stage]
    return [each["tokens"] for each in data if "tokens" in each]


def test_sampling_tells_the_tokens_of_both_pools(tiny_round: MakeRound) -> None:
    pool = {"method": "sample", "samples_per_prompt": 8, "holdout_samples_per_prompt": 4}
    made = tiny_round(pool=pool)
    made.run("sample_pool")
    pools = load_pools(made.artifacts, made.digests["sample_pool"])
    assert counted(made, "sample_pool") == [int(each.lengths_XJ.sum()) for each in pools]


def test_listing_all_responses_samples_nothing(tiny_round: MakeRound) -> None:
    made = tiny_round()
    made.run("sample_pool")
    assert counted(made, "sample_pool") == []


def test_training_on_the_pool_tells_its_tokens_once_a_step_and_world(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round(training={"method": "pool_gradient", **TRAINING})
    made.run("fit_rewards", "sample_pool", "score", "solve", "train")
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    steps = sum(event.type == "training_step" for event in made.events)
    assert steps == TRAINING["steps"]
    assert counted(made, "train") == [steps * WORLDS * int(pool.lengths_XJ.sum())]


def test_the_natural_gradient_passes_the_pool_once_for_all_worlds(tiny_round: MakeRound) -> None:
    training = {"method": "natural_gradient", "patience": 100, "top_layers": None}
    made = tiny_round(training=training)
    made.run("fit_rewards", "sample_pool", "score", "solve", "train")
    pool, _ = load_pools(made.artifacts, made.digests["sample_pool"])
    assert counted(made, "train") == [int(pool.lengths_XJ.sum())]


def test_training_on_rollouts_tells_the_tokens_that_it_drew(tiny_round: MakeRound) -> None:
    training = {"method": "policy_gradient", "samples_per_prompt": 4, **TRAINING}
    made = tiny_round(training=training)
    made.run("fit_rewards", "sample_pool", "score", "solve", "train")
    rollouts = TRAINING["steps"] * WORLDS * len(PROMPTS) * 4
    (tokens,) = counted(made, "train")
    assert rollouts <= tokens <= rollouts * made.job.announcement.generation.max_new_tokens
