"""Everything that is known once all candidates have been valued."""

from dataclasses import dataclass

import numpy as np

from workers.mechanism.arrays import Floats
from workers.mechanism.candidates import Choice
from workers.mechanism.methods import Counterfactuals
from workers.mechanism.mixture import MixtureModels
from workers.mechanism.payments import Payments
from workers.mechanism.worlds import GRAND, PoolGame, WorldValues, membership, welfare
from workers.pool.projection import ProjectedModels
from workers.stages.candidates import INITIAL, Candidate
from workers.stages.score import Scores
from workers.stages.solve import SolvedWorld


@dataclass(frozen=True, eq=False)
class Valuation:
    """All candidates, every world's choice among them, and the payments.

    `valued` is what choices and payments rest on: the projection on the pool (`on_pool`), or the
    mixture. `priced` holds the models that the payments price, `choice` the trained ones that each
    world chose; under `closed_form` the two differ. `log_probs_KXJ` is log π(y|x) of the
    candidates on the pool. `mixture_errors_N`: how far rewards of the mixture's samples were
    clipped, 0 without one.
    """

    game: PoolGame
    scores: Scores
    method: Counterfactuals
    solution: list[SolvedWorld]
    candidates: list[Candidate]
    on_pool: ProjectedModels
    valued: ProjectedModels | MixtureModels
    choice: Choice
    priced: WorldValues
    payments: Payments
    log_probs_KXJ: Floats
    mixture_errors_N: Floats

    @property
    def delivered(self) -> int:
        """The delivered model's place among the candidates."""
        return int(self.choice.candidate_W[GRAND])

    @property
    def initial_valuations_N(self) -> Floats:
        """vᵢ of the initial model, which is always a candidate."""
        values_N: Floats = self.valued.valuations_KN[INITIAL]
        return values_N

    @property
    def initial_welfare_W(self) -> Floats:
        """ASW of the initial model in each world."""
        members_WN = membership(self.game.groups)
        welfare_WK = welfare(
            self.game.sizes_N, self.initial_valuations_N[None], np.zeros(1), members_WN
        )
        return welfare_WK[:, 0]
