"""Where each choice of the design stops scaling: the number at which it breaks, computed.

Each limit says what grows, what it must stay below, and the largest size at which it does; and what
replaces the choice beyond. `found` are the constants of benchmarks/results/scale-cpu.json.
docs/scale.md §8.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .devices import H100, USABLE, Device
from .memory import HOST_COPIES, checkpoint_bytes, training
from .passes import b_weights
from .shapes import FLOAT32, LLAMA_8B, SMOLLM2, Shape
from .stages import NUMBER, RoundSize, stages

LARGEST = 10**9
KEPT_BYTES = 8 * 2**30
"""As in workers/training/response_gradients.py."""
HOST_BYTES = 128e9
"""Of a machine with GPUs; ASSUMED."""
NETWORK = 1.25e9
"""Bytes a second from a store to a cluster: 10 Gbit/s; ASSUMED."""
JSON_BYTES = 1e9
"""The longest text of PostgreSQL (1 GB) and of SQLite as it is built (10⁹ bytes)."""
HOUR, DAY = 3600.0, 86400.0
MAP_SECONDS = 0.033
"""What one `map` of one task costs on Ray: results/quote_smollm2_4_2-cpu.json, six maps of little
work in 0.2 s."""
ROUND = RoundSize(groups=10)

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """`breaks`: the largest size that is still right, and its unit."""

    choice: str
    criterion: str
    breaks: str
    replacement: str


def largest(grows: Callable[[int], float], below: float) -> int:
    """The largest n from 0 on with grows(n) ≤ below; LARGEST if all are. `grows` never falls."""
    low, high = 0, 1
    while grows(high) <= below:
        low, high = high, 2 * high
        if high > LARGEST:
            return LARGEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if grows(middle) <= below else (low, middle)
    return low


def rewards_in_memory(found: Found) -> int:
    """Groups of which stage `score` can hold the rewards, with the copies that it makes."""
    a_number = NUMBER + found["arithmetic"]["score: artifact"]["bytes"]
    pool = ROUND.prompts * (ROUND.responses + ROUND.holdout)
    return largest(lambda n: n * pool * a_number, HOST_BYTES)


def scores_over_the_network(tasks: int) -> int:
    """Groups whose rewards `tasks` tasks, each reading all of them, have within a minute."""
    pool = ROUND.prompts * (ROUND.responses + ROUND.holdout)
    return largest(lambda n: tasks * n * pool * NUMBER / NETWORK, 60)


def solve_seconds(found: Found, groups: int, size: RoundSize = ROUND) -> float:
    """Of stage `solve`, all worlds one after another on one core."""
    each = found["arithmetic"]["solve: one world"]
    rewards = groups * size.prompts * size.responses
    return (groups + 1) * (rewards * each["reward"] + each["world"])


def streamed_seconds(found: Found, groups: int, size: RoundSize = ROUND) -> float:
    """The same payments, prompt by prompt."""
    each = found["arithmetic"]["solve: streamed payments"]
    return size.prompts * (groups * size.responses * each["reward"] + each["prompt"])


def payments_in_memory(found: Found) -> int:
    """Groups whose payments stage `value` can work out."""
    return largest(lambda n: n**2 * found["arithmetic"]["value: payments"]["bytes"], HOST_BYTES)


def outcome_bytes(found: Found, groups: int) -> float:
    """Of the outcome's JSON: its pairs, worlds and groups."""
    each = found["outcome"]
    return groups**2 * each["bytes_a_pair"] + groups * each["bytes_a_group"]


def solution_bytes(found: Found, groups: int) -> float:
    """Of stage `solve`'s JSON, which has every group's valuation in every world."""
    return (groups + 1) * groups * found["outcome"]["bytes_a_pair"]


def settle_seconds(found: Found, groups: int) -> float:
    """Of one settlement."""
    each = found["arithmetic"]["settle"]
    return each["pair"] * groups**2 + each["group"] * groups + each["round"]


def worlds_on_a_device(device: Device, step_prompts: int) -> int:
    """Worlds of the 8B model that train together on one device."""

    def held(worlds: int) -> float:
        size = replace(
            ROUND, groups=worlds - 1, counterfactuals="retrain", step_prompts=step_prompts
        )
        return training(LLAMA_8B, size).total

    return largest(lambda worlds: held(max(1, worlds)), device.memory * USABLE)


def drawn_worlds(device: Device) -> int:
    """Worlds of the 8B model whose samples of one prompt are drawn in one batch."""

    def held(worlds: int) -> float:
        memory = training(LLAMA_8B, replace(ROUND, groups=worlds - 1, counterfactuals="retrain"))
        return memory.weights + memory.adapters + memory.cache

    return largest(lambda worlds: held(max(1, worlds)), device.memory * USABLE)


def checkpointed_worlds() -> int:
    """Worlds of the 8B model whose checkpoint one host can write."""

    def held(worlds: int) -> float:
        size = replace(ROUND, groups=worlds - 1, counterfactuals="retrain")
        return HOST_COPIES * checkpoint_bytes(LLAMA_8B, size)

    return largest(held, HOST_BYTES)


def retrained_groups(device: Device, seconds: float) -> int:
    """Groups of which every world of the 8B model is trained within the time on one device."""

    def taken(groups: int) -> float:
        size = replace(ROUND, groups=groups, counterfactuals="retrain")
        return device.seconds(stages(LLAMA_8B, size)["train"].model)

    return largest(taken, seconds)


def scored_in_training(found: Found, seconds: float) -> int:
    """Groups with lexical models that on-policy training asks within the time: a core, n² a step.

    Whatever the base model is; it waits meanwhile.
    """
    each = found["arithmetic"]["score: lexical"]["response"]

    def taken(groups: int) -> float:
        size = replace(ROUND, groups=groups, counterfactuals="retrain")
        return stages(SMOLLM2, size)["train"].scored * each

    return largest(taken, seconds)


def supported_divergence(responses: int) -> float:
    """Nats that an optimum may be from π₀ by the rule N ≥ 20·e^KL (docs/mechanism.md §2)."""
    return math.log(responses / 20)


def responses_with_gradients(shape: Shape) -> int:
    """Of the pool, whose own gradients natural_gradient may hold: KEPT_BYTES of float32."""
    return int(KEPT_BYTES // (FLOAT32 * b_weights(shape, ROUND.adapters)))


def largest_base_model(device: Device) -> float:
    """Weights in bfloat16 that fit on one device with 30 % to spare."""
    return device.memory * USABLE * 0.7 / 2


def working_coordinators(found: Found, events_a_second: float, heartbeat: float = 5.0) -> int:
    """Coordinators whose heartbeats and events half of one database's writes can take."""
    writes = found["writes"]["sqlite_a_second"]
    return largest(lambda k: k * (events_a_second + 1 / heartbeat), writes / 2)


def rounds_an_hour(coordinators: int, seconds: float) -> float:
    """With coordinators busy four fifths of the time."""
    return 0.8 * coordinators * HOUR / seconds


def ridge_rows() -> float:
    """Rows in a batch above which decoding computes longer than it reads weights, on an H100."""
    flops_a_second = H100.peak_flops * H100.flops_share
    return flops_a_second / (H100.bandwidth * H100.bandwidth_share)


def scored_groups(seconds: float) -> int:
    """Groups whose maps of both pools cost Ray so much, whatever they compute."""
    return largest(lambda n: 2 * n * MAP_SECONDS, seconds)


def stage_that_loses(share: float, deaths_an_hour: float = 1 / 24) -> float:
    """Seconds of a stage whose restarts take that share of its time, lease apart: γs/2."""
    return 2 * share * HOUR / deaths_an_hour
