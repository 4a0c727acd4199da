"""Valuing the candidates on samples of their own beside the pool, for policies far from it."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from api_schemas.jobs import StageName
from workers.mechanism.arrays import Floats
from workers.mechanism.mixture import MixtureModels, MixtureSamples
from workers.mechanism.mixture import value_on_mixture as value_models
from workers.mechanism.worlds import PoolGame
from workers.pool.mixture_samples import sample_candidates
from workers.stages.candidates import INITIAL, Candidate, attached, candidates_of
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.stages.train import group_rewards
from workers.tensors import pack, unpack


def value_on_mixture(
    context: StageContext,
    game: PoolGame,
    candidates: Sequence[Candidate],
    log_pool_KXJ: Floats,
) -> tuple[MixtureModels, Floats] | None:
    """Value all candidates on the pool's responses and on some of each of them.

    `log_pool_KXJ` is log π(y|x) of the candidates on the pool. Also gives, for each group, how far
    the furthest reward lay outside [0, 1] before clipping. None where a reward model failed on a
    response (with a warning), or where nothing was trained: then the pool has to do.
    """
    if len(candidates) == 1:
        return None
    shards = contiguous_shards(len(game.prompt_weights_X), context.runner.model_shards)
    items = [(dict(context.inputs), shard.start, shard.stop) for shard in shards]
    drawn = [
        unpack(context.artifacts.get(digest))[0]
        for digest in context.runner.map(_draw, items, uses_model=True)
    ]
    raw_NXJ = torch.cat([part["rewards"] for part in drawn], 1).numpy()
    rewards_NXJ = np.clip(raw_NXJ, 0.0, 1.0)
    if np.isnan(rewards_NXJ).any():
        failing = np.flatnonzero(np.isnan(rewards_NXJ).any(axis=(1, 2)))
        ids = Scores.load(context.artifacts, context.inputs["score"]).group_ids
        context.warn(
            f"no mixture: the reward models of {', '.join(ids[i] for i in failing)} failed on it"
        )
        return None
    log_drawn_KXJ = torch.cat([part["log_probs"] for part in drawn], 1).numpy()
    counts_K = np.full(len(candidates), context.job.announcement.pool.mixture_samples_per_prompt)
    counts_K[INITIAL] = log_pool_KXJ.shape[2]
    samples = MixtureSamples(
        log_models_KXJ=np.concatenate([log_pool_KXJ, log_drawn_KXJ], axis=2),
        counts_K=counts_K,
        rewards_NXJ=np.concatenate([game.rewards_NXJ, rewards_NXJ], axis=2),
        initial=INITIAL,
    )
    errors_N: Floats = np.abs(raw_NXJ - rewards_NXJ).max(axis=(1, 2))
    return value_models(game, samples), errors_N


def _draw(context: TaskContext, item: tuple[dict[StageName, str], int, int]) -> str:
    """Draw from every candidate, and score, on the prompts from `start` to before `stop`."""
    inputs, start, stop = item
    rules = context.job.announcement
    pool, _ = load_pools(context.artifacts, inputs["sample_pool"])
    rewards = group_rewards(context.artifacts, Scores.load(context.artifacts, inputs["score"]))
    base, found = context.base_model(), candidates_of(context, inputs)
    with attached(base, found, rules.training.gradient) as (decoder, adapters, places):
        assert adapters is not None, "value_on_mixture has seen to it that something was trained"
        drawn = sample_candidates(
            base,
            decoder,
            adapters,
            places,
            pool.prompt_tokens[start:stop],
            samples=rules.pool.mixture_samples_per_prompt,
            max_new_tokens=rules.generation.max_new_tokens,
            labels=(rules.seed, "mixture"),
            first_index=start,
            on_prompt=partial(_tell, context, start),
        )
    prompts, responses = drawn.flat_texts(pool.prompts[start:stop])
    raw_NM = rewards.unclipped(prompts, responses)
    rewards_NXJ = raw_NM.reshape(-1, *drawn.lengths_XJ.shape)
    return context.artifacts.put(
        pack({"log_probs": drawn.log_probs_KXJ, "rewards": torch.from_numpy(rewards_NXJ)}, {})
    )


def _tell(context: TaskContext, start: int, done: int, total: int) -> None:
    context.progress("value", done, total, f"prompts of the mixture from prompt {start}")
