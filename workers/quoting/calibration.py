"""A little of every stage, run and timed on the machine that would run them all.

Each kind of work is tried on ever more of the round's own, as far as BUDGET_SECONDS allow; where
they allow all of it, nothing is extrapolated but how often it is repeated.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from api_schemas.datasets import PromptLine
from api_schemas.lexical import LexicalSpec
from api_schemas.rounds import RoundCreate
from workers import base_models
from workers.base_models import BaseModel
from workers.mechanism import closed_form
from workers.mechanism.worlds import PoolGame
from workers.pool import pool as pools
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import Pool
from workers.pool.sampling import MAX_ROWS
from workers.quoting.choice import spread
from workers.quoting.extrapolation import Cost, Timing, grown
from workers.quoting.plan import Plan, plan
from workers.quoting.trial import size_within, trial, whole_size
from workers.rewards import registry
from workers.rewards.interfaces import FitContext
from workers.tensors import pack
from workers.training import checkpoints
from workers.training.train_worlds import WorldsTrainer

BUDGET_SECONDS = 15.0
"""Of one measurement at most. Two kinds of work come near it, sampling and a training step."""
_LITTLE = 4
"""Responses that the first measurements are of."""
_SOLVED_NUMBERS = 2_000_000
"""Rewards of the game that is solved: 16 MB."""
_IMPORTS = "import ray.train.torch, workers.stages.run"
"""What a worker's process imports before its first task."""
_LEXICAL = LexicalSpec.model_validate(
    {
        "type": "lexical",
        "features": [
            {"type": "keywords", "words": ["please", "thank", "sorry"]},
            {"type": "length", "target_words": 12},
        ],
    }
)

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Passes:
    """Seconds that log-probabilities of one response take: `once` for the layers that all models
    share, `each` for every model's own; and `kl`, the exact divergence of one model along it."""

    once: float
    each: float
    kl: float


@dataclass(frozen=True)
class Calibration:
    """Units: `sampling` rows of one call, `enumerating` prompts, `step` trained responses,
    `scoring` responses, `solving` numbers X·J·n of one world. `sampled_rows` are those of a whole
    call. Bytes: of a pool's response, of its text alone, of one adapter, of a model's part in a
    checkpoint.
    """

    device: str
    devices: int
    process_seconds: float
    load_seconds: float
    plan: Plan
    sampling: Cost
    sampled_rows: int
    enumerating: Cost | None
    step: Cost
    passes: Passes
    scoring: Cost
    solving: Cost
    response_bytes: float
    text_bytes: float
    adapter_bytes: int
    checkpoint_bytes: float
    seconds: float


def calibrate(
    rules: RoundCreate, revision: str, lines: list[PromptLine], groups: int, tell: Tell
) -> Calibration:
    """Raises what the round itself would raise for its announcement, prompts or base model."""
    started = time.perf_counter()
    process_seconds = _seconds(_start_a_process)
    base, load_seconds = _load(rules.base_model, revision)
    tell(1, 4, "measurements")
    sampled, sampling, call_rows = _sampling(base, rules, lines)
    responses, enumerating = rules.pool.samples_per_prompt, None
    if rules.pool.method == "enumerate":
        sampled, enumerating = _enumerating(base, rules, lines)
        responses = sampled.lengths_XJ.shape[1]
    planned = plan(rules, groups, len(lines), responses)
    tell(2, 4, "measurements")
    step = grown(
        lambda rows: _step(base, planned, lines, rows),
        _LITTLE,
        whole_size(planned).rows,
        BUDGET_SECONDS,
    )
    tell(3, 4, "measurements")
    size = size_within(planned, int(step.large.units))
    with closing(trial(base, planned, lines, size)) as trainer:
        next(trainer.train())  # a state has what Adam remembers, once there was a step
        passes = _passes(trainer, sampled)
        adapter = pack(trainer.adapters.world_state(0), {})
        state = pack(*checkpoints.state(trainer))
    tell(4, 4, "measurements")
    return Calibration(
        device=_device(),
        devices=1 if torch.cuda.is_available() else torch.get_num_threads(),
        process_seconds=process_seconds,
        load_seconds=load_seconds,
        plan=planned,
        sampling=sampling,
        sampled_rows=call_rows,
        enumerating=enumerating,
        step=step,
        passes=passes,
        scoring=_scoring(sampled),
        solving=_solving(planned),
        response_bytes=len(sampled.to_bytes()) / sampled.lengths_XJ.numel(),
        text_bytes=float(np.mean([len(text.encode()) for text in sampled.flat_texts()[1]])),
        adapter_bytes=len(adapter),
        # The state has no best adapter yet, which a checkpoint of a training has.
        checkpoint_bytes=len(state) / size.worlds + len(adapter),
        seconds=time.perf_counter() - started,
    )


def _seconds(work: Callable[[], Any]) -> float:
    """What `work` takes; a GPU is waited for."""
    _wait_for_the_device()
    started = time.perf_counter()
    work()
    _wait_for_the_device()
    return time.perf_counter() - started


def _wait_for_the_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU core"


def _start_a_process() -> None:
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, capture_output=True)


def _load(name: str, revision: str) -> tuple[BaseModel, float]:
    """The base model, and how long a load takes: one that is held already is dropped before."""
    base_models.load.cache_clear()
    device = str(base_models.default_device())
    seconds = _seconds(lambda: base_models.load(name, revision, device))
    return base_models.load(name, revision, device), seconds


def _sampling(
    base: BaseModel, rules: RoundCreate, lines: list[PromptLine]
) -> tuple[Pool, Cost, int]:
    """What was drawn last, the cost by rows of one call, and how many rows a whole call has."""
    samples = rules.pool.samples_per_prompt
    whole = min(max(1, MAX_ROWS // samples), len(lines)) * samples
    drawn: list[Pool] = []

    def draw(rows: int) -> Timing:
        each = min(samples, rows)
        chosen = spread(lines, max(1, rows // samples))
        tokens, labels = rules.generation.max_new_tokens, (rules.seed, "calibration")

        def work() -> None:
            drawn.append(
                pools.sample_pool(base, chosen, samples=each, max_new_tokens=tokens, labels=labels)
            )

        return Timing(each * len(chosen), _seconds(work))

    draw(_LITTLE)  # warms up
    cost = grown(draw, _LITTLE, whole, BUDGET_SECONDS)
    return drawn[-1], cost, whole


def _enumerating(base: BaseModel, rules: RoundCreate, lines: list[PromptLine]) -> tuple[Pool, Cost]:
    """The cost by prompts: all of them have the same responses."""
    listed: list[Pool] = []

    def enumerate_(prompts: int) -> Timing:
        chosen, tokens = spread(lines, prompts), rules.generation.max_new_tokens
        return Timing(
            prompts,
            _seconds(lambda: listed.append(pools.enumerate_pool(base, chosen, tokens))),
        )

    cost = grown(enumerate_, 1, len(lines), BUDGET_SECONDS)
    return listed[0], cost


def _step(base: BaseModel, planned: Plan, lines: list[PromptLine], rows: int) -> Timing:
    """One step on about so many rows. The first, least one is taken twice, to warm up."""
    size = size_within(planned, rows)
    with closing(trial(base, planned, lines, size)) as trainer:
        steps = trainer.train()
        if rows <= _LITTLE:
            next(steps)
        return Timing(size.rows, _seconds(lambda: next(steps)))


def _passes(trainer: WorldsTrainer, sampled: Pool) -> Passes:
    """One prompt's responses through the base model alone, through all models, and through two of
    them for their divergence."""
    log_probs = ResponseLogProbs(
        trainer.decoder,
        trainer.adapters,
        sampled.prompt_tokens[:1],
        sampled.tokens_XJT[:1],
        sampled.lengths_XJ[:1],
    )
    worlds = list(range(trainer.task.worlds))
    log_probs([None])  # warms up
    alone = _seconds(lambda: log_probs([None]))
    together = _seconds(lambda: log_probs([None, *worlds]))
    diverging = _seconds(lambda: log_probs.kl(0))
    responses = sampled.lengths_XJ.shape[1]
    each = max(0.0, together - alone) / len(worlds)
    once = max(0.0, alone - each)
    return Passes(once / responses, each / responses, diverging / responses)


def _scoring(sampled: Pool) -> Cost:
    model = registry.fit(_LEXICAL, FitContext(_no_file))
    prompts, responses = sampled.flat_texts()
    model.score(prompts, responses)  # warms up
    return _twice(lambda count: model.score(prompts[:count], responses[:count]), len(responses))


def _no_file(file_id: str) -> bytes:
    raise ValueError(f"a lexical reward model reads no file, but asked for {file_id}")


def _solving(planned: Plan) -> Cost:
    """One world's optimum on random rewards, on as many prompts as fit into the memory."""
    rules = planned.rules
    per_prompt = planned.groups * planned.responses
    prompts = max(1, min(planned.prompts, _SOLVED_NUMBERS // per_prompt))

    def solve(numbers: int) -> None:
        count = max(1, numbers // per_prompt)
        closed_form.optimum(
            PoolGame(
                log_q_XJ=np.full((count, planned.responses), -np.log(planned.responses)),
                prompt_weights_X=np.full(count, 1 / count),
                coefficient=rules.regularizer.coefficient,
                regularizer=rules.regularizer.type,
                sizes_N=np.ones(planned.groups),
                rewards_NXJ=np.random.default_rng(0).random(
                    (planned.groups, count, planned.responses)
                ),
            )
        )

    solve(per_prompt)  # warms up
    return _twice(solve, prompts * per_prompt)


def _twice(work: Callable[[int], Any], units: int) -> Cost:
    few = max(1, units // 4)
    return _cost(
        Timing(few, _seconds(lambda: work(few))), Timing(units, _seconds(lambda: work(units)))
    )


def _cost(small: Timing, large: Timing) -> Cost:
    """Where all the work is no more than the little, there is one measurement."""
    return Cost(small, large) if small.units < large.units else Cost(large, large)
