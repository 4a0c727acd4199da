"""The table of where each choice of the design breaks, and what replaces it beyond."""

from collections.abc import Mapping
from typing import Any

from . import limits
from .devices import H100, H200
from .limits import DAY, HOUR, Limit
from .shapes import LLAMA_8B, SMOLLM2

Found = Mapping[str, Any]


def choices(found: Found) -> list[Limit]:
    return [*_memory(found), *_worlds(found), *_arithmetic(found), *_service(found)]


def _memory(found: Found) -> list[Limit]:
    return [
        Limit(
            "all rewards in one process (n × X × J float64, and copies)",
            f"{limits.HOST_BYTES / 1e9:.0f} GB of a host",
            _groups(limits.rewards_in_memory(found)),
            "float32 blocks by prompt, as `truthtune solve` reads them: memory is one block's",
        ),
        Limit(
            "scores as one artifact that every task reads whole",
            "64 tasks have it within a minute at 10 Gbit/s",
            _groups(limits.scores_over_the_network(64)),
            "an artifact a prompt shard; group ids and ranges in one of their own",
        ),
        Limit(
            "the pool's support: N ≥ 20·e^KL",
            "N = 64; N = 65,536, the most that may be announced",
            f"{limits.supported_divergence(64):.2f} nats; "
            f"{limits.supported_divergence(65_536):.2f} nats",
            "`value_on: mixture`, whose payments carry sampling noise; a larger λ",
        ),
        Limit(
            "the base model whole on each device",
            "30 % of its memory to spare",
            f"{limits.largest_base_model(H100) / 1e9:.0f}·10⁹ weights on an H100, "
            f"{limits.largest_base_model(H200) / 1e9:.0f}·10⁹ on an H200",
            "`TRUTHTUNE_SHARD_BASE_MODEL` (FSDP2) for training; tensor-parallel drawing, valuing",
        ),
    ]


def _worlds(found: Found) -> list[Limit]:
    at_once, one_by_one = (limits.worlds_on_a_device(H100, count) for count in (16, 1))
    return [
        Limit(
            "all worlds' activations of a step in one backward pass",
            "8B on an H100, 16 prompts × 8 samples × 128 tokens a step",
            f"{at_once} worlds" if at_once else "not one world",
            f"the same gradient prompt by prompt: {one_by_one} worlds; then world by world",
        ),
        Limit(
            "`natural_gradient` holds the gradient of every response of the pool",
            f"{limits.KEPT_BYTES / 2**30:.0f} GiB, its own limit",
            f"{limits.responses_with_gradients(SMOLLM2):,} responses of SmolLM2, "
            f"{limits.responses_with_gradients(LLAMA_8B):,} of the 8B model",
            "blocks of the kernel with gradients computed again; random projections of them",
        ),
        Limit(
            "all worlds' samples of a prompt in one batch",
            "8B on an H100: weights, adapters, keys and values",
            f"{limits.drawn_worlds(H100)} worlds",
            "blocks of worlds: drawing computes no faster than it reads weights below "
            f"{limits.ridge_rows():.0f} rows only",
        ),
        Limit(
            "all worlds in one checkpoint, written by rank 0",
            f"8B, {limits.HOST_BYTES / 1e9:.0f} GB of a host",
            f"{limits.checkpointed_worlds():,} worlds",
            "a file a world, each written by another worker",
        ),
        Limit(
            "worlds without each group trained: linear in n",
            "8B: trained within a day on one H100",
            _groups(limits.retrained_groups(H100, DAY)),
            "`closed_form` or `bound`: payments without any further training",
        ),
        Limit(
            "on-policy training asks each world's own groups: n² a step",
            "lexical models take an hour of one core",
            _groups(limits.scored_in_training(found, HOUR)),
            "`pool_gradient`, which asks none; scoring in tasks beside the next step's drawing",
        ),
        Limit(
            "one Ray Train run that shares a step's prompts",
            "a prompt a worker",
            "16 workers at 16 prompts a step",
            "more prompts a step; worlds spread over several runs",
        ),
    ]


def _arithmetic(found: Found) -> list[Limit]:
    return [
        Limit(
            "`solve` world by world: n²·X·J",
            "an hour of one core",
            _groups(limits.largest(lambda n: limits.solve_seconds(found, n), HOUR)),
            "`mechanism/streaming.py`: all payments in n·X·J, "
            f"{limits.streamed_seconds(found, 10_000):.0f} s at 10,000 groups",
        ),
        Limit(
            "every group's valuation in every world: n² numbers",
            f"{limits.HOST_BYTES / 1e9:.0f} GB",
            _groups(limits.payments_in_memory(found)),
            "each world's own line, as it is valued",
        ),
        Limit(
            "every group's valuation in every world, as JSON (`solve`)",
            "1 GB",
            _groups(limits.largest(lambda n: limits.solution_bytes(found, n), limits.JSON_BYTES)),
            "each world's own line: payments need no more",
        ),
        Limit(
            "one map a group in `score`, one after another",
            "an hour of Ray's own time",
            _groups(limits.scored_groups(HOUR)),
            "one map over groups × blocks",
        ),
    ]


def _service(found: Found) -> list[Limit]:
    writes = found["writes"]["sqlite_a_second"]
    coordinators = limits.working_coordinators(found, events_a_second=1)
    return [
        Limit(
            "one settlement in one transaction",
            "30 s, the lease and SQLite's patience with a lock; an hour",
            f"{_groups(limits.largest(lambda n: limits.settle_seconds(found, n), 30))}; "
            f"{limits.largest(lambda n: limits.settle_seconds(found, n), HOUR):,}",
            "receipts in batches after the settlement",
        ),
        Limit(
            "the outcome as one JSON text, with every two groups' agreement",
            "1 GB, the longest of PostgreSQL and SQLite",
            _groups(limits.largest(lambda n: limits.outcome_bytes(found, n), limits.JSON_BYTES)),
            "rows of groups and worlds; agreement as an artifact of float32",
        ),
        Limit(
            f"SQLite: {writes:.0f} writes a second on this busy machine, one at a time",
            "half of them for heartbeats and an event a second each",
            f"{coordinators:,} coordinators at work",
            "PostgreSQL, which locks rows",
        ),
        Limit(
            "one coordinator a round, one round a coordinator",
            "rounds of 10 min, coordinators four fifths busy",
            f"{limits.rounds_an_hour(1, 600):.1f} rounds an hour each",
            "more coordinators: they share the queue by leases, without a leader",
        ),
        Limit(
            "a stage starts anew with its coordinator (lease 30 s)",
            "1 % lost at a death a day",
            f"stages of {limits.stage_that_loses(0.01) / 60:.0f} min",
            "each task's result under its own digest, found again by the next coordinator",
        ),
        Limit(
            "webhook messages numbered within a millisecond, in the settlement",
            "30 s, the lease",
            _groups(limits.largest(lambda n: 4 * n / 1000, 30)) + " with an endpoint",
            "a sequence of the database",
        ),
        Limit(
            "a Merkle path in each receipt: log₂ n hashes",
            "a receipt of 10 kB",
            "none: 14 hashes at 10,000 groups",
            "–",
        ),
    ]


def _groups(count: int) -> str:
    return f"{count:,} groups"
