"""The figures that docs/scale.md has in its sentences, from the measurements that are kept."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .expectations import with_restarts
from .limits import settle_seconds, solve_seconds, streamed_seconds
from .markdown import duration, short
from .playing import COORDINATOR_DEATHS
from .shapes import LLAMA_8B
from .stages import RoundSize, stages

Found = Mapping[str, Any]
NEURAL_WEIGHTS, NEURAL_GROUPS = 1.2e9, 10
"""Of the reward models in §3's example, and of how many groups."""


def _root_mean_square(errors: Iterable[float]) -> float:
    squares = [each**2 for each in errors]
    return math.sqrt(sum(squares) / len(squares))


def _error(found: Found, held_out: bool) -> str:
    errors = [
        each["predicted"] / each["seconds"] - 1
        for each in found["measurements"]
        if each["held_out"] is held_out
    ]
    return f"{100 * _root_mean_square(errors):.0f} %"


def _neural() -> float:
    """Operations of scoring both pools once by every group's language model."""
    size = RoundSize(NEURAL_GROUPS)
    scored = stages(LLAMA_8B, size)["score"].scored
    return scored * 2 * NEURAL_WEIGHTS * (size.prompt_tokens + size.tokens)


def _neural_times() -> str:
    drawn = stages(LLAMA_8B, RoundSize(NEURAL_GROUPS))["sample_pool"].model.flops
    return f"{_neural() / drawn:.1f} times"


def _settled(groups: int) -> Callable[[Found], str]:
    return lambda found: duration(settle_seconds(found, groups))


def _settled_with_deaths(found: Found) -> str:
    """Of 10,000 groups, where the coordinator dies once a day and the stage starts anew."""
    seconds = settle_seconds(found, 10_000)
    return duration(with_restarts(seconds, COORDINATOR_DEATHS, 30))


def _bytes_of_payments(found: Found) -> str:
    """How far the fitted bytes are off on the table of payments that was held out."""
    each = next(e for e in found["arithmetic_held_out"] if e["kind"] == "value: payments")
    expected = found["arithmetic"]["value: payments"]["bytes"] * each["units"]["pair"]
    return f"{100 * abs(expected / each['bytes'] - 1):.1f} %"


WORDS: Mapping[str, Callable[[Found], str]] = {
    "machine": lambda found: (
        f"{found['machine']}, a load of {found['load_before']:.0f} to "
        f"{found['load_after']:.0f} beside it"
    ),
    "fit_error": lambda found: _error(found, held_out=False),
    "held_error": lambda found: _error(found, held_out=True),
    "neural": lambda found: short(_neural()),
    "neural_share": lambda found: _neural_times(),
    "bytes_of_payments": _bytes_of_payments,
    "settled_1000": _settled(1000),
    "settled_10000": _settled(10_000),
    "settled_with_deaths": _settled_with_deaths,
    "solved_10000": lambda found: duration(solve_seconds(found, 10_000)),
    "streamed_10000": lambda found: duration(streamed_seconds(found, 10_000)),
    "round_prompts": lambda found: str(found["round"]["prompts"]),
    "round_steps": lambda found: str(found["round"]["steps"]),
    "round_seconds": lambda found: f"{found['round']['seconds']:.0f}",
    "round_predicted": lambda found: f"{found['round']['predicted']:.0f}",
    "round_played": lambda found: duration(found["round"]["played"]),
    "heartbeats": lambda found: f"{found['writes']['heartbeats']:.0f}",
    "events": lambda found: f"{found['writes']['events']:.0f}",
    "request": lambda found: f"{found['request_processor_ms']:.1f}",
}
