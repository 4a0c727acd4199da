"""`truthtune audit-game`: what false reports would gain in a game in a file."""

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from api_schemas.audits import AuditCreate
from workers.mechanism.audit import Lie, Replay
from workers.mechanism.revenue import outside_domain, surcharges
from workers.mechanism.worlds import PoolGame
from workers.solving.fields import refuse
from workers.solving.game_files import PoolFile, opened
from workers.solving.run import PaymentRule, encoded, read_source
from workers.solving.written_files import published


def audit_file(
    source: str, rule: PaymentRule, settings: AuditCreate, max_size: int | None, out: Path | None
) -> None:
    """Write what every misreport brings each group of the game, `-` for standard input.

    `max_size` bounds reported sizes; without it they have no bound. Raises InvalidInput, with the
    place, before anything is written.
    """
    document, folder = read_source(source)
    with opened(document, folder) as file, ExitStack() as files:
        if not isinstance(file, PoolFile):
            refuse("kind", '"candidates" has no rewards for a group to lie about')
        result = _audited(_pool_game(file), file.rewards_path, rule, settings, max_size)
        target = files.enter_context(published(out, "--out")) if out else sys.stdout.buffer
        target.write(encoded(result))


def _pool_game(file: PoolFile) -> PoolGame:
    prompts = [file.prompts[x] for x in range(len(file.prompts))]
    lengths = [len(prompt.base_J) for prompt in prompts]
    for x, length in enumerate(lengths):
        if length != lengths[0]:
            refuse(f"prompts[{x}].base", f"has {length} responses, prompts[0] has {lengths[0]}")
    everyone = slice(0, len(file.sizes_N))
    return PoolGame(
        log_q_XJ=np.log([prompt.base_J for prompt in prompts]),
        prompt_weights_X=np.array([prompt.weight for prompt in prompts]),
        coefficient=file.coefficient,
        regularizer=file.regularizer,
        sizes_N=file.sizes_N,
        rewards_NXJ=np.stack([prompt.rewards[everyone] for prompt in prompts], axis=1),
    )


def _audited(
    game: PoolGame, path: str, rule: PaymentRule, settings: AuditCreate, max_size: int | None
) -> dict[str, Any]:
    surcharges_N = None
    if rule == "revenue_maximizing":
        smallest_N, largest_N = game.rewards_NXJ.min((1, 2)), game.rewards_NXJ.max((1, 2))
        for i, reason in outside_domain(smallest_N, largest_N).items():
            refuse(path.format(i), f"{reason} under revenue_maximizing")
        surcharges_N = surcharges(game)
    truth, misreports = [], []
    for i in range(game.groups):
        own = None if surcharges_N is None else float(surcharges_N[i])
        replay = Replay(game, i, sys.maxsize if max_size is None else max_size, own)
        honest = replay.truth()
        truth.append({"group": i, **asdict(honest)})
        for strategy, parameter in settings.misreports():
            told = replay.tell(Lie(strategy, parameter))
            if told is not None:
                misreports.append(
                    {
                        "group": i,
                        "strategy": strategy,
                        "parameter": parameter,
                        **asdict(told),
                        **told.gains(honest),
                    }
                )
    return {
        "truth": truth,
        "misreports": misreports,
        "largest_gain": max((line["gain"] for line in misreports), default=None),
        "largest_gain_without_payments": max(
            (line["gain_without_payments"] for line in misreports), default=None
        ),
    }
