"""The delivered model on fresh samples, beside what the pools tell of the initial model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from api_schemas.jobs import StageName
from api_schemas.outcomes import FreshValuation
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.mechanism.worlds import PoolGame
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import response_texts
from workers.pool.randomness import uniforms
from workers.pool.refill import draw
from workers.pool.responses import Responses
from workers.stages.candidates import INITIAL, attached, candidates_of
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.stages.train import group_rewards
from workers.training.stacked_lora import StackedAdapters


@dataclass(frozen=True, eq=False)
class FreshSamples:
    """J fresh responses a prompt of the delivered model.

    `rewards_NXJ` is NaN where a reward model failed; `outside_N` counts scores outside the pool's
    range and `errors_N` is how far the furthest lies outside, as a reward. `divergence_XJ` averages
    to the regulariser's D: Σ_t KL along each response, or for L2 π(y) − 2π₀(y), to which
    E_{y~π₀} π₀(y) has to be added.
    """

    rewards_NXJ: Floats
    outside_N: Floats
    errors_N: Floats
    divergence_XJ: Floats


@dataclass(frozen=True, eq=False)
class Fresh:
    """Welfare on fresh samples; each group's clipped share and largest reward error there."""

    valuation: FreshValuation
    clipped_N: Floats
    errors_N: Floats


def value_fresh(
    context: StageContext,
    game: PoolGame,
    scores: Scores,
    delivered: int,
    initial_log_probs_XJ: Floats,
) -> Fresh | None:
    """Value the delivered model in the grand world on fresh samples.

    `delivered` is its place among the candidates; `initial_log_probs_XJ` is log π₀ on the pool,
    which L2 needs. None, with a warning, if a reward model failed on a sample: a part of the
    samples would not be a fair sample.
    """
    shards = contiguous_shards(len(game.prompt_weights_X), context.runner.model_shards)
    items = [(dict(context.inputs), delivered, shard.start, shard.stop) for shard in shards]
    fresh = _joined(context.runner.map(_draw, items, uses_model=True))
    failing = [
        group_id
        for group_id, rewards_XJ in zip(scores.group_ids, fresh.rewards_NXJ, strict=True)
        if np.isnan(rewards_XJ).any()
    ]
    if failing:
        context.warn(f"no fresh valuation: the reward models of {', '.join(failing)} failed on it")
        return None
    if game.regularizer == "l2" and delivered != INITIAL:
        own_X = (np.exp(game.log_q_XJ) * np.exp(initial_log_probs_XJ)).sum(axis=1)
        fresh = replace(fresh, divergence_XJ=fresh.divergence_XJ + own_X[:, None])
    valuation = _valuation(game, _initial(context, game, scores), fresh)
    return Fresh(valuation, fresh.outside_N / fresh.divergence_XJ.size, fresh.errors_N)


def _initial(context: StageContext, game: PoolGame, scores: Scores) -> tuple[float, float]:
    """The initial model's welfare and its standard error.

    Both pools are fair samples of the initial model, many more than could be drawn anew; an
    enumerated pool holds its expectation itself.
    """
    if context.job.announcement.pool.method == "enumerate":
        welfare_XJ = np.einsum("n,nxj->xj", game.sizes_N, game.rewards_NXJ)
        return float(game.prompt_weights_X @ (np.exp(game.log_q_XJ) * welfare_XJ).sum(1)), 0.0
    rewards_NXJ = np.concatenate([scores.rewards_NXJ, scores.holdout_rewards_NXJ], axis=2)
    welfare_XJ = np.einsum("n,nxj->xj", game.sizes_N, rewards_NXJ)
    return _mean_and_error(welfare_XJ, game.prompt_weights_X)


def _valuation(game: PoolGame, initial: tuple[float, float], fresh: FreshSamples) -> FreshValuation:
    weights_X = game.prompt_weights_X
    welfare_XJ = np.einsum("n,nxj->xj", game.sizes_N, fresh.rewards_NXJ)
    tuned, error = _mean_and_error(welfare_XJ - game.coefficient * fresh.divergence_XJ, weights_X)
    return FreshValuation(
        samples=welfare_XJ.size,
        welfare_initial=initial[0],
        welfare_initial_standard_error=initial[1],
        welfare=tuned,
        welfare_standard_error=error,
        gain=tuned - initial[0],
        gain_standard_error=float(np.hypot(error, initial[1])),
        divergence=_mean_and_error(fresh.divergence_XJ, weights_X)[0],
    )


def _mean_and_error(values_XJ: Floats, weights_X: Floats) -> tuple[float, float]:
    """The prompts' weighted mean and its standard error over samples; the prompts are fixed."""
    variance_X = values_XJ.var(axis=1, ddof=1) / values_XJ.shape[1]
    error = np.sqrt((weights_X**2 * variance_X).sum())
    return float(weights_X @ values_XJ.mean(axis=1)), float(error)


def _joined(parts: Sequence[FreshSamples]) -> FreshSamples:
    return FreshSamples(
        rewards_NXJ=np.concatenate([part.rewards_NXJ for part in parts], axis=1),
        outside_N=np.sum([part.outside_N for part in parts], axis=0),
        errors_N=np.max([part.errors_N for part in parts], axis=0),
        divergence_XJ=np.concatenate([part.divergence_XJ for part in parts]),
    )


def _draw(context: TaskContext, item: tuple[dict[StageName, str], int, int, int]) -> FreshSamples:
    """Draw from the delivered model, score, and sum the KL, on prompts `start` to before `stop`."""
    inputs, delivered, start, stop = item
    rules = context.job.announcement
    pool, _ = load_pools(context.artifacts, inputs["sample_pool"])
    rewards = group_rewards(context.artifacts, Scores.load(context.artifacts, inputs["score"]))
    base = context.base_model()
    chosen = candidates_of(context, inputs)[delivered]
    shape = (rules.pool.fresh_samples_per_prompt, rules.generation.max_new_tokens)
    tokens = pool.prompt_tokens[start:stop]
    with attached(base, [chosen], rules.training.gradient) as (decoder, adapters, _):
        drawn = draw(
            decoder,
            tokens,
            lambda p: uniforms(shape, rules.seed, "fresh", start + p),
            base.eos_token_ids,
            adapters=adapters,
            world=None if chosen.state is None else 0,
        )
        divergence_XJ = _divergence(context, decoder, adapters, tokens, drawn)
    texts = response_texts(base, drawn.tokens_PJT.flatten(0, 1), drawn.lengths_PJ.flatten())
    asked = [prompt for prompt in pool.prompts[start:stop] for _ in range(shape[0])]
    raw_NXJ = rewards.unclipped(asked, texts).reshape(-1, stop - start, shape[0])
    used_NXJ = np.clip(raw_NXJ, 0, 1)
    distance_NXJ = np.nan_to_num(np.abs(raw_NXJ - used_NXJ))
    return FreshSamples(
        rewards_NXJ=used_NXJ,
        outside_N=(distance_NXJ > 0).sum(axis=(1, 2)).astype(np.float64),
        errors_N=distance_NXJ.max(axis=(1, 2)),
        divergence_XJ=divergence_XJ,
    )


def _divergence(
    context: TaskContext,
    decoder: Decoder,
    adapters: StackedAdapters | None,
    prompt_tokens: list[list[int]],
    drawn: Responses,
) -> Floats:
    if adapters is None:
        return np.zeros(drawn.lengths_PJ.shape)
    along = ResponseLogProbs(decoder, adapters, prompt_tokens, drawn.tokens_PJT, drawn.lengths_PJ)

    def tell(done: int, total: int) -> None:
        context.progress("value", done, total, "prompts of fresh samples")

    if context.job.announcement.regularizer.type == "kl":
        return along.kl(0, tell).numpy()
    tuned_XJ, initial_XJ = along([0, None], on_prompt=tell).exp().numpy()
    divergence_XJ: Floats = tuned_XJ - 2 * initial_XJ
    return divergence_XJ
