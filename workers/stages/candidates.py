"""The models that may be chosen: the initial one, trained adapters, and mixes of adapters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from api_schemas.jobs import StageName
from api_schemas.rounds import RoundCreate
from api_schemas.training import AdapterTraining, RewardedSoups
from workers.artifacts import ArtifactStore
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats, Mask
from workers.mechanism.worlds import PoolGame
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.projection import ProjectedModels, value_models
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.sample_pool import load_pools
from workers.stages.score import Scores
from workers.tensors import pack, unpack
from workers.training import soups
from workers.training.stacked_lora import StackedAdapters, rank_of

INITIAL = 0
"""The initial model's place among the candidates: the first, so that ties go to it."""

PoolKind = Literal["pool", "holdout"]


@dataclass(frozen=True)
class Candidate:
    """A model that worlds may choose; `state` is None for the initial one.

    `name` is as outcomes show it, `groups` are the places of the groups whose reports it carries.
    """

    name: str
    groups: frozenset[int]
    state: dict[str, Tensor] | None


def load_candidates(
    artifacts: ArtifactStore, digest: str, rules: RoundCreate, group_ids: Sequence[str]
) -> list[Candidate]:
    """The initial model, then the `train` artifact's adapters or what is mixed of them."""
    trained = artifacts.get_json(digest)["trained"]
    states = [unpack(artifacts.get(each["state"]))[0] for each in trained]
    initial = Candidate("initial", frozenset(), None)
    if isinstance(rules.training, RewardedSoups):
        names = [group_ids[each["groups"][0]] for each in trained]
        groups = [int(each["groups"][0]) for each in trained]
        return [initial, *_mixes(rules.training, groups, names, states)]
    return [initial] + [
        Candidate(f"{each['name']}@{each['step']}", frozenset(each["groups"]), state)
        for each, state in zip(trained, states, strict=True)
    ]


def _mixes(
    settings: RewardedSoups,
    groups: list[int],
    names: list[str],
    states: list[dict[str, Tensor]],
) -> list[Candidate]:
    """Every point of the simplex grid over the adapters, like `soup:1/4*<group>+3/4*<group>`."""
    if not states:
        return []
    mix = soups.INTERPOLATIONS[settings.interpolation]
    found = []
    for point in soups.simplex_grid(len(states), settings.grid_steps):
        places = soups.touched_groups(point)
        found.append(
            Candidate(
                name="soup:" + "+".join(f"{point[place]}*{names[place]}" for place in places),
                groups=frozenset(groups[place] for place in places),
                state=mix(states, point),
            )
        )
    return found


def touched(candidates: Sequence[Candidate], groups: int) -> Mask:
    """Whether each candidate carries each group's report, shape (K, N)."""
    touched_KN = np.zeros((len(candidates), groups), dtype=bool)
    for k, candidate in enumerate(candidates):
        touched_KN[k, list(candidate.groups)] = True
    return touched_KN


@contextmanager
def attached(
    base: BaseModel, candidates: Sequence[Candidate], training: AdapterTraining
) -> Iterator[tuple[Decoder, StackedAdapters | None, list[int | None]]]:
    """The base model with the candidates' adapters on it, and the stacked world of each candidate.

    A candidate's world is None for the initial model.
    """
    states = [candidate.state for candidate in candidates if candidate.state is not None]
    decoder = Decoder(base.model)
    if not states:
        yield decoder, None, [None] * len(candidates)
        return
    rank = max(rank_of(state) for state in states)
    adapters = StackedAdapters.announced(base.model, training, worlds=len(states), rank=rank)
    try:
        for place, state in enumerate(states):
            adapters.load_world_state(place, state)
        places = iter(range(len(states)))
        yield decoder, adapters, [None if c.state is None else next(places) for c in candidates]
    finally:
        adapters.close()


def value_on_pool(
    context: StageContext,
    game: PoolGame,
    chosen: Sequence[int] | None = None,
    kind: PoolKind = "pool",
) -> tuple[ProjectedModels, Floats]:
    """Project candidates on a pool: all on the same responses, in one pass.

    `chosen` are places of candidates (default: all), the initial model's the first of them. Also
    gives log π(y|x) of each of them, shape (K, X, J).
    """
    shards = contiguous_shards(len(game.prompt_weights_X), context.runner.model_shards)
    places = None if chosen is None else list(chosen)
    items = [(dict(context.inputs), kind, places, shard.start, shard.stop) for shard in shards]
    digests = context.runner.map(_log_probs, items, uses_model=True)
    parts = [unpack(context.artifacts.get(digest))[0]["log_probs"] for digest in digests]
    log_theta_KXJ = torch.cat(parts, 1).numpy()
    return value_models(game, log_theta_KXJ, log_theta_KXJ[INITIAL]), log_theta_KXJ


_Item = tuple[dict[StageName, str], PoolKind, list[int] | None, int, int]


def _log_probs(context: TaskContext, item: _Item) -> str:
    """log π(y|x) of the candidates on the prompts from `start` to before `stop`."""
    inputs, kind, places, start, stop = item
    pool = load_pools(context.artifacts, inputs["sample_pool"])[kind == "holdout"]
    found = candidates_of(context, inputs)
    if places is not None:
        found = [found[k] for k in places]
    training = context.job.announcement.training.gradient
    with attached(context.base_model(), found, training) as (decoder, adapters, worlds):
        log_probs = ResponseLogProbs(
            decoder,
            adapters,
            pool.prompt_tokens[start:stop],
            pool.tokens_XJT[start:stop],
            pool.lengths_XJ[start:stop],
        )
        found_KXJ = log_probs(worlds, on_prompt=partial(_tell, context, kind, start))
    return context.artifacts.put(pack({"log_probs": found_KXJ}, {}))


def candidates_of(context: TaskContext, inputs: dict[StageName, str]) -> list[Candidate]:
    """The round's candidates, from its `train` and `score` artifacts."""
    group_ids = Scores.load(context.artifacts, inputs["score"]).group_ids
    return load_candidates(context.artifacts, inputs["train"], context.job.announcement, group_ids)


def _tell(context: TaskContext, kind: PoolKind, start: int, done: int, total: int) -> None:
    context.progress("value", done, total, f"prompts of the {kind} from prompt {start}")
