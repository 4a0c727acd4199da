"""The delivered model on fresh samples of its own, beside the initial model on samples of its."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from api_schemas.jobs import StageName
from api_schemas.outcomes import FreshValuation
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import prompt_weights, response_texts
from workers.pool.randomness import uniforms
from workers.pool.sampling import Rollouts, sample
from workers.stages.candidates import Candidate, attached, load_candidates
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.stages.train import group_rewards
from workers.training.stacked_lora import StackedAdapters


@dataclass(frozen=True, eq=False)
class FreshSamples:
    """Fresh responses of two models (axis M: initial, delivered), J a prompt.

    `rewards_NMXJ` is NaN where a reward model failed; `outside_N` counts the delivered model's
    scores outside the pool's range; `kl_MXJ` is Σ_t KL along each response, nats.
    """

    rewards_NMXJ: Floats
    outside_N: Floats
    kl_MXJ: Floats


def value_fresh(
    context: StageContext, scores: Scores, delivered: int
) -> tuple[FreshValuation, list[float]] | None:
    """Welfare in the grand world on fresh samples, and each group's clipped share.

    `delivered` is the place of the delivered model among the candidates. None, with a warning, if
    a reward model failed on a sample: a part of the samples would not be a fair sample.
    """
    lines = context.prompts()
    shards = contiguous_shards(len(lines), context.runner.model_shards)
    items = [(dict(context.inputs), delivered, shard.start, shard.stop) for shard in shards]
    fresh = _joined(context.runner.map(_draw, items, uses_model=True))
    if not np.isfinite(fresh.rewards_NMXJ).all():
        names = [
            group_id
            for group_id, rewards_MXJ in zip(scores.group_ids, fresh.rewards_NMXJ, strict=True)
            if np.isnan(rewards_MXJ).any()
        ]
        context.warn(f"no fresh valuation: the reward models of {', '.join(names)} failed on it")
        return None
    clipped_N = fresh.outside_N / fresh.kl_MXJ[1].size
    coefficient = context.job.announcement.regularizer.coefficient
    weights_X = prompt_weights(lines)
    return _valuation(fresh, scores.sizes_N, coefficient, weights_X), clipped_N.tolist()


def _valuation(
    fresh: FreshSamples, sizes_N: Floats, coefficient: float, weights_X: Floats
) -> FreshValuation:
    welfare_MXJ = np.einsum("n,nmxj->mxj", sizes_N, fresh.rewards_NMXJ)
    welfare_MXJ -= coefficient * fresh.kl_MXJ
    (initial, initial_se), (tuned, tuned_se), (gain, gain_se) = (
        _mean_and_error(values_XJ, weights_X)
        for values_XJ in (*welfare_MXJ, welfare_MXJ[1] - welfare_MXJ[0])
    )
    return FreshValuation(
        samples=welfare_MXJ[0].size,
        welfare_initial=initial,
        welfare_initial_standard_error=initial_se,
        welfare=tuned,
        welfare_standard_error=tuned_se,
        gain=gain,
        gain_standard_error=gain_se,
        divergence=_mean_and_error(fresh.kl_MXJ[1], weights_X)[0],
    )


def _mean_and_error(values_XJ: Floats, weights_X: Floats) -> tuple[float, float]:
    """The prompts' weighted mean and its standard error over samples; the prompts are fixed."""
    variance_X = values_XJ.var(axis=1, ddof=1) / values_XJ.shape[1]
    error = np.sqrt((weights_X**2 * variance_X).sum())
    return float(weights_X @ values_XJ.mean(axis=1)), float(error)


def _joined(parts: Sequence[FreshSamples]) -> FreshSamples:
    return FreshSamples(
        rewards_NMXJ=np.concatenate([part.rewards_NMXJ for part in parts], axis=2),
        outside_N=np.sum([part.outside_N for part in parts], axis=0),
        kl_MXJ=np.concatenate([part.kl_MXJ for part in parts], axis=1),
    )


def _draw(context: TaskContext, item: tuple[dict[StageName, str], int, int, int]) -> FreshSamples:
    """Draw from both models with the same random numbers, score, and sum the KL."""
    inputs, delivered, start, stop = item
    rules = context.job.announcement
    pool, _ = load_pools(context.artifacts, inputs["sample_pool"])
    rewards = group_rewards(context.artifacts, Scores.load(context.artifacts, inputs["score"]))
    base = context.base_model()
    chosen = [load_candidates(context.artifacts, inputs["train"])[delivered]]
    shape = (rules.pool.fresh_samples_per_prompt, rules.generation.max_new_tokens)
    uniforms_XJT = torch.stack(
        [uniforms(shape, rules.seed, "fresh", x) for x in range(start, stop)]
    )
    prompt_tokens = pool.prompt_tokens[start:stop]
    asked = [prompt for prompt in pool.prompts[start:stop] for _ in range(shape[0])]
    with attached(base, chosen, rules.training) as (decoder, adapters, places):
        drawn = [
            sample(decoder, adapters, worlds, prompt_tokens, uniforms_XJT, base.eos_token_ids)
            for worlds in (None, None if places[0] is None else [0])
        ]
        kl_XJ = _kl(context, decoder, adapters, chosen[0], prompt_tokens, drawn[1])
    raw_NMXJ = np.stack([rewards.unclipped(asked, _texts(base, d)) for d in drawn], axis=1)
    raw_NMXJ = raw_NMXJ.reshape(len(raw_NMXJ), 2, stop - start, -1)
    outside_N = ((raw_NMXJ < 0) | (raw_NMXJ > 1))[:, 1].sum(axis=(1, 2)).astype(np.float64)
    return FreshSamples(np.clip(raw_NMXJ, 0, 1), outside_N, np.stack([np.zeros_like(kl_XJ), kl_XJ]))


def _texts(base: BaseModel, drawn: Rollouts) -> list[str]:
    return response_texts(base, drawn.tokens_KPJT[0].flatten(0, 1), drawn.lengths_KPJ[0].flatten())


def _kl(
    context: TaskContext,
    decoder: Decoder,
    adapters: StackedAdapters | None,
    chosen: Candidate,
    prompt_tokens: list[list[int]],
    drawn: Rollouts,
) -> Floats:
    if chosen.state is None:
        return np.zeros(drawn.lengths_KPJ.shape[1:])
    along = ResponseLogProbs(
        decoder, adapters, prompt_tokens, drawn.tokens_KPJT[0], drawn.lengths_KPJ[0]
    )
    tell = partial(context.progress, "value")
    kl_XJ: Tensor = along.kl(0, lambda done, total: tell(done, total, "prompts of fresh samples"))
    return kl_XJ.numpy()
