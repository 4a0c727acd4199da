"""The models that may be chosen: the initial one and each trained world's best, valued together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from api_schemas.jobs import StageName
from api_schemas.training import GradientTraining
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.candidates import INITIAL
from workers.mechanism.worlds import PoolGame
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.projection import ProjectedModels, value_models
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.sample_pool import load_pools
from workers.tensors import pack, unpack
from workers.training.stacked_lora import StackedAdapters


@dataclass(frozen=True)
class Candidate:
    """A trained adapter, or the initial model: world INITIAL, no state."""

    world: int
    step: int
    state: dict[str, Tensor] | None


def load_candidates(artifacts: ArtifactStore, digest: str) -> list[Candidate]:
    """The initial model first, so that ties go to it; then the `train` artifact's adapters."""
    trained = [
        Candidate(c["world"], c["step"], unpack(artifacts.get(c["state"]))[0])
        for c in artifacts.get_json(digest)
    ]
    return [Candidate(INITIAL, 0, None), *trained]


@contextmanager
def attached(
    base: BaseModel, candidates: list[Candidate], training: GradientTraining
) -> Iterator[tuple[Decoder, StackedAdapters | None, list[int | None]]]:
    """The base model with the candidates' adapters on it, and the stacked world of each candidate.

    A candidate's world is None for the initial model.
    """
    states = [candidate.state for candidate in candidates if candidate.state is not None]
    decoder = Decoder(base.model)
    if not states:
        yield decoder, None, [None] * len(candidates)
        return
    adapters = StackedAdapters.announced(base.model, training, worlds=len(states))
    try:
        for place, state in enumerate(states):
            adapters.load_world_state(place, state)
        places = iter(range(len(states)))
        yield decoder, adapters, [None if c.state is None else next(places) for c in candidates]
    finally:
        adapters.close()


def value_on_pool(
    context: StageContext, game: PoolGame, candidates: list[Candidate]
) -> ProjectedModels:
    """Project every candidate on the pool: all worlds on the same responses, in one pass."""
    shards = contiguous_shards(len(game.prompt_weights_X), context.runner.model_shards)
    items = [(dict(context.inputs), shard.start, shard.stop) for shard in shards]
    digests = context.runner.map(_log_probs, items, uses_model=True)
    parts = [unpack(context.artifacts.get(digest))[0]["log_probs"] for digest in digests]
    log_theta_KXJ = torch.cat(parts, 1).numpy()
    initial = next(k for k, c in enumerate(candidates) if c.world == INITIAL)
    return value_models(game, log_theta_KXJ, log_theta_KXJ[initial])


def _log_probs(context: TaskContext, item: tuple[dict[StageName, str], int, int]) -> str:
    """log π(y|x) of every candidate on the prompts from `start` to before `stop`."""
    inputs, start, stop = item
    rules = context.job.announcement
    pool, _ = load_pools(context.artifacts, inputs["sample_pool"])
    candidates = load_candidates(context.artifacts, inputs["train"])
    with attached(context.base_model(), candidates, rules.training.gradient) as (
        decoder,
        adapters,
        places,
    ):
        log_probs = ResponseLogProbs(
            decoder,
            adapters,
            pool.prompt_tokens[start:stop],
            pool.tokens_XJT[start:stop],
            pool.lengths_XJ[start:stop],
        )
        found_KXJ = log_probs(places, on_prompt=partial(_tell, context, start))
    return context.artifacts.put(pack({"log_probs": found_KXJ}, {}))


def _tell(context: TaskContext, start: int, done: int, total: int) -> None:
    context.progress("value", done, total, f"prompts of the pool from prompt {start}")
