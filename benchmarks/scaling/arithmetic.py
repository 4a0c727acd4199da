"""Measurements of what grows with the groups alone: the mechanism's arithmetic, on one core.

Seconds of the processor, and the most bytes that NumPy held beside the inputs.
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from api_schemas.lexical import LexicalSpec
from workers.mechanism import closed_form
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.streaming import PromptPool, StreamedGame, add_prompts, solve_prompt
from workers.mechanism.worlds import PoolGame, WorldValues
from workers.rewards import registry
from workers.rewards.agreement import agreement
from workers.rewards.interfaces import FitContext
from workers.stages.score import Scores

from .fit import least_relative_squares

LEXICAL = LexicalSpec.model_validate(
    {
        "type": "lexical",
        "features": [
            {"type": "keywords", "words": ["please", "thank", "sorry"]},
            {"type": "length", "target_words": 12},
        ],
    }
)
_LEAST_SECONDS = 0.1
SENTENCE = "Thank you, that is a fine question; please take an umbrella along with you today."


@dataclass(frozen=True)
class Taken:
    """`units`: what seconds are fitted to, by name. `bytes`: held at most beside the inputs."""

    kind: str
    groups: int
    units: dict[str, float]
    seconds: float
    bytes: int
    held_out: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def taken(work: Callable[[], Any]) -> tuple[float, int]:
    """As often as makes a time that a clock can tell, and once more, slowed down, for memory."""
    started, times = time.process_time(), 0
    while time.process_time() < started + _LEAST_SECONDS:
        work()
        times += 1
    seconds = (time.process_time() - started) / times
    tracemalloc.start()
    try:
        work()
        return seconds, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def game(groups: int, prompts: int, responses: int) -> PoolGame:
    rng = np.random.default_rng(groups)
    return PoolGame(
        log_q_XJ=np.full((prompts, responses), -np.log(responses)),
        prompt_weights_X=np.full(prompts, 1 / prompts),
        coefficient=10.0,
        sizes_N=rng.integers(1, 11, groups).astype(np.float64),
        rewards_NXJ=rng.random((groups, prompts, responses)),
    )


def one_world(groups: int, prompts: int, responses: int, held_out: bool = False) -> Taken:
    """The optimum of one world, as stage `solve` finds it for each."""
    played = game(groups, prompts, responses)
    seconds, held = taken(lambda: closed_form.optimum(played, 1))
    units = {"reward": groups * prompts * responses, "world": 1}
    return Taken("solve: one world", groups, units, seconds, held, held_out)


def streamed(groups: int, prompts: int, responses: int, held_out: bool = False) -> Taken:
    """All payments at once, as `truthtune solve` finds them."""
    rng = np.random.default_rng(groups)
    shared = StreamedGame(rng.integers(1, 11, groups), 10.0)
    base_J = np.full(responses, 1 / responses)
    pool = [
        PromptPool(1 / prompts, base_J, rng.random((groups, responses))) for _ in range(prompts)
    ]
    seconds, held = taken(
        lambda: add_prompts(shared, (solve_prompt(shared, prompt) for prompt in pool))
    )
    units = {"reward": groups * prompts * responses, "prompt": prompts}
    return Taken("solve: streamed payments", groups, units, seconds, held, held_out)


def payments(groups: int, held_out: bool = False) -> Taken:
    """From every world's values to payments, in stage `value`."""
    rng = np.random.default_rng(groups)
    worlds = WorldValues(rng.random((groups + 1, groups)), rng.random(groups + 1))
    seconds, held = taken(lambda: affine_maximizer(np.ones(groups), worlds))
    return Taken("value: payments", groups, {"pair": groups**2, "call": 1}, seconds, held, held_out)


def agreements(groups: int, prompts: int, responses: int, held_out: bool = False) -> Taken:
    """Every two groups' rank correlation, and its part of the outcome's JSON (in `bytes`)."""
    rewards_NXJ = np.random.default_rng(groups).random((groups, prompts, responses))
    weights_X = np.full(prompts, 1 / prompts)
    seconds, _ = taken(lambda: agreement(rewards_NXJ, weights_X))
    units = {"pair": groups**2, "pair and prompt": prompts * groups**2, "row": groups * prompts}
    written = len(json.dumps(agreement(rewards_NXJ, weights_X)))
    return Taken("value: agreement", groups, units, seconds, written, held_out)


def artifact(groups: int, prompts: int, responses: int, held_out: bool = False) -> Taken:
    """Stage `score`'s rewards from its lists to the bytes that it stores."""
    rng = np.random.default_rng(groups)
    listed = [rng.random((prompts, responses)) for _ in range(groups)]
    nothing_NXJ = np.zeros((groups, prompts, 1))
    seconds, held = taken(lambda: Scores([], {}, np.stack(listed), nothing_NXJ).to_bytes())
    units = {"reward": groups * prompts * responses, "call": 1}
    return Taken("score: artifact", groups, units, seconds, held, held_out)


def lexical(responses: int, held_out: bool = False) -> Taken:
    model = registry.fit(LEXICAL, FitContext(_no_file))
    asked, texts = ["What now?"] * responses, [f"{SENTENCE} {place}" for place in range(responses)]
    model.score(asked[:1], texts[:1])
    seconds, held = taken(lambda: model.score(asked, texts))
    return Taken("score: lexical", 1, {"response": responses, "call": 1}, seconds, held, held_out)


def _no_file(file_id: str) -> bytes:
    raise ValueError(f"a lexical reward model reads no file, but asked for {file_id}")


def measure_all() -> list[Taken]:
    """Squares of groups are fitted where they no longer fit into a processor's cache:
    below, a number takes a fraction of the time."""
    found = [
        *(one_world(n, 64, 32) for n in (30, 100, 300)),
        *(one_world(n, 8, 32) for n in (2000, 3000, 4000)),
        one_world(6000, 8, 32, held_out=True),
        one_world(10_000, 8, 32, held_out=True),
        *(streamed(n, 16, 64) for n in (30, 100, 300, 1000)),
        streamed(3000, 16, 256, held_out=True),
        streamed(10_000, 16, 64, held_out=True),
        *(payments(n) for n in (1000, 2000, 4000)),
        payments(8000, held_out=True),
        *(agreements(n, 4, 32) for n in (30, 100, 300)),
        *(agreements(n, 16, 32) for n in (30, 100)),
        agreements(1000, 4, 32, held_out=True),
        *(artifact(n, 16, 64) for n in (100, 300, 1000)),
        artifact(3000, 16, 64, held_out=True),
        *(lexical(count) for count in (50, 200, 1000)),
        lexical(4000, held_out=True),
    ]
    for each in found:
        print(f"{each.kind}, {each.groups} groups: {each.seconds:.4f} s", flush=True)
    return found


def constants(found: Sequence[Taken]) -> dict[str, dict[str, float]]:
    """Seconds a unit, and `bytes` a unit of the first, of each kind."""
    kinds = dict.fromkeys(each.kind for each in found)
    return {kind: _constants([each for each in found if each.kind == kind]) for kind in kinds}


def _constants(found: Sequence[Taken]) -> dict[str, float]:
    used = [each for each in found if not each.held_out]
    names = list(used[0].units)
    seconds = least_relative_squares(
        [list(each.units.values()) for each in used], [each.seconds for each in used]
    )
    bytes_ = least_relative_squares(
        [[each.units[names[0]]] for each in used], [float(each.bytes) for each in used]
    )
    return dict(zip(names, seconds, strict=True)) | {"bytes": bytes_[0]}


def predicted(fitted: dict[str, dict[str, float]], each: Taken) -> float:
    return sum(fitted[each.kind][name] * count for name, count in each.units.items())
