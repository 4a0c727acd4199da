"""The mechanism against games that an independent general-purpose optimiser solved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.mechanism import closed_form
from workers.mechanism.payments import affine_maximizer
from workers.mechanism.worlds import PoolGame

FOLDER = Path(__file__).parents[3] / "shared" / "oracle"
GAMES = sorted(FOLDER.glob("game*.json"))
TOLERANCE = 1e-5
"""The optimiser is iterative."""

if not GAMES:
    pytest.skip(f"no games in {FOLDER}", allow_module_level=True)


@pytest.mark.parametrize("file", GAMES, ids=lambda file: file.stem)
def test_payments_and_policies_agree_with_the_optimiser(file: Path) -> None:
    content = json.loads(file.read_text())
    game, expected = content["game"], content["expected"]
    if game["kind"] != "pool" or game["regularizer"] != "kl":
        pytest.skip("not a pool game under the KL regulariser")
    bases = {len(prompt["base"]) for prompt in game["prompts"]}
    if len(bases) != 1:
        pytest.skip("prompts with pools of different sizes")
    pool_game = _pool_game(game)
    solution = closed_form.solve(pool_game)
    payments = affine_maximizer(pool_game.sizes_N, solution.values)
    found = {
        "policies": np.exp(solution.log_policy_XJ),
        "valuations": solution.values.valuations_WN[0],
        "divergence": solution.divergence_W[0],
        "welfare": solution.welfare_W[0],
        "welfare_without": solution.welfare_W[1:],
        "payments": payments.payments_N,
        "utilities": payments.utilities_N,
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=TOLERANCE, err_msg=name)


def _pool_game(game: dict[str, Any]) -> PoolGame:
    prompts = game["prompts"]
    weights = [prompt.get("weight", 1 / len(prompts)) for prompt in prompts]
    return PoolGame(
        log_q_XJ=np.log([prompt["base"] for prompt in prompts]),
        prompt_weights_X=np.array(weights),
        kl_coefficient=game["kl_coefficient"],
        sizes_N=np.array(game["sizes"], dtype=np.float64),
        rewards_NXJ=np.array([prompt["rewards"] for prompt in prompts]).transpose(1, 0, 2),
    )
