"""From a game in a file to its outcome in another."""

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from workers.mechanism.candidates import choose
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.revenue import outside_domain, revenue_maximizing
from workers.mechanism.streaming import (
    Each,
    PromptTerms,
    StreamedGame,
    StreamedOutcome,
    add_prompts,
    solve_prompt,
)
from workers.mechanism.worlds import GRAND
from workers.solving.fields import refuse
from workers.solving.game_files import CandidatesFile, PoolFile, opened
from workers.solving.written_files import RowsFile, published

PaymentRule = Literal["affine_maximizer", "revenue_maximizing"]
Work = TypeVar("Work")
Done = TypeVar("Done")

_AHEAD = 2
"""Items handed to the pool per thread before the oldest result is taken: bounds memory."""

_KEPT_FREE = 2**25 - 2**13
"""Bytes. glibc returns a freed block to the system unless one as large was freed before; fetching
fresh pages for every intermediate result would double a large pool's processor time."""


def solve_file(source: str, rule: PaymentRule, out: Path | None, policies: Path | None) -> None:
    """Write the outcome of the game in the file `source`, `-` for standard input.

    Without `out` it goes to standard output. `policies`: a .npy file for the policies of a game
    whose rewards are in one. Raises InvalidInput, with the place, before anything is written.
    """
    document, folder = read_source(source)
    with opened(document, folder) as game, ExitStack() as files:
        file = files.enter_context(published(out, "--out")) if out else sys.stdout.buffer
        if isinstance(game, CandidatesFile):
            outcome = _candidates_outcome(game, rule, policies)
        else:
            rows = _policies_file(game, policies, files)
            outcome = _pool_outcome(game, rule, rows)
        file.write(encoded(outcome))


def encoded(outcome: dict[str, Any]) -> bytes:
    """JSON; refuses numbers that are not finite."""
    try:
        return json.dumps(outcome, indent=1, allow_nan=False).encode() + b"\n"
    except ValueError:
        refuse("$", "the game's numbers are so large that its welfare is not finite")


def read_source(source: str) -> tuple[bytes, Path]:
    """The document, `-` for standard input, and the folder that its array files are sought in."""
    if source == "-":
        return sys.stdin.buffer.read(), Path()
    path = Path(source)
    try:
        return path.read_bytes(), path.parent
    except (OSError, ValueError) as error:
        refuse(source, getattr(error, "strerror", None) or str(error))


def _candidates_outcome(
    game: CandidatesFile, rule: PaymentRule, policies: Path | None
) -> dict[str, Any]:
    if rule == "revenue_maximizing":
        refuse("kind", '"candidates" has no set of possible reports to take an infimum over')
    if policies is not None:
        refuse("kind", '"candidates" has no policies for --policies')
    valuations_KN = game.valuations_NK.T
    everything_WK = np.ones((len(game.sizes_N) + 1, len(valuations_KN)), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as a whole
        choice = choose(game.sizes_N, valuations_KN, game.penalties_K, everything_WK)
        payments = affine_maximizer(game.sizes_N, choice.values)
    return {
        "choice": int(choice.candidate_W[GRAND]),
        "valuations": choice.values.valuations_WN[GRAND].tolist(),
        "divergence_penalty": float(choice.values.penalties_W[GRAND]),
        "welfare": float(choice.welfare_W[GRAND]),
        "welfare_without": payments.others_welfare_without_N.tolist(),
        "payments": payments.payments_N.tolist(),
        "utilities": payments.utilities_N.tolist(),
    }


def _policies_file(game: PoolFile, policies: Path | None, files: ExitStack) -> RowsFile | None:
    if policies is None:
        return None
    if not game.on_disk:
        refuse("prompts", "the outcome holds the policies, --policies is for a game with arrays")
    file = files.enter_context(published(policies, "--policies"))
    return RowsFile(file, len(game.prompts), len(game.prompts[0].base_J))


def _pool_outcome(game: PoolFile, rule: PaymentRule, rows: RowsFile | None) -> dict[str, Any]:
    with_surcharges = rule == "revenue_maximizing"
    streamed = StreamedGame(game.sizes_N, game.coefficient, game.regularizer, with_surcharges)
    policies: list[list[float]] = []

    def kept() -> Iterator[PromptTerms]:
        for terms in _solved(game, streamed):
            if rows is not None:
                rows.append(terms.policy_J)
            elif not game.on_disk:
                policies.append(terms.policy_J.tolist())
            yield terms

    outcome = add_prompts(streamed, kept())
    if with_surcharges:
        for i, reason in outside_domain(outcome.smallest_N, outcome.largest_N).items():
            refuse(game.rewards_path.format(i), f"{reason} under revenue_maximizing")
    return ({} if game.on_disk else {"policies": policies}) | _pool_figures(outcome)


def _pool_figures(outcome: StreamedOutcome) -> dict[str, Any]:
    payments = outcome.payments
    if outcome.surcharges_N is not None:
        payments = revenue_maximizing(payments, outcome.surcharges_N)
    figures = {
        "valuations": outcome.valuations_N.tolist(),
        "divergence": outcome.divergence,
        "welfare": outcome.welfare,
        "welfare_without": payments.others_welfare_without_N.tolist(),
        "payments": payments.payments_N.tolist(),
        "utilities": payments.utilities_N.tolist(),
    }
    if payments.surcharges_N is not None:
        figures["surcharges"] = payments.surcharges_N.tolist()
    return figures


def _solved(game: PoolFile, streamed: StreamedGame) -> Iterator[PromptTerms]:
    """The prompts' terms in order: several prompts at a time or, of one alone, several groups."""
    np.empty(_KEPT_FREE, dtype=np.uint8)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        each = in_order(pool, threads)
        if len(game.prompts) > 1:
            yield from each(
                lambda x: solve_prompt(streamed, game.prompts[x]), range(len(game.prompts))
            )
        else:
            yield solve_prompt(streamed, game.prompts[0], each=each)


def in_order(pool: ThreadPoolExecutor, threads: int) -> Each:
    """`map` on the pool; numpy lets go of Python's lock, so threads share the work.

    The order of results is that of the items, whichever was done first: sums are reproducible.
    """

    def each(function: Callable[[Work], Done], items: Iterable[Work], /) -> Iterator[Done]:
        waiting: deque[Future[Done]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return each
