"""The natural gradient of welfare on the shared pool: one direction a world, and a walk along it.

With the log-ratios ℓ_j = φ_j·θ of response_gradients, centred by q on each prompt, welfare is

    J(θ) = Σ_j s_j ℓ_j − ½ Σ_j c_j ℓ_j² + O(θ³),     s_j = w_x q_j (S_j − E_q S),  c_j = λ w_x q_j

since KL(π‖q) is half the variance of ℓ under q to second order. The curvature Σ_j c_j φ_j φ_jᵀ is λ
times Fisher's information, so the optimum of the quadratic, damped by ρ|θ|²/2, is the natural
gradient (Kakade, "A natural policy gradient", NeurIPS 2001):

    θ = Σ_j α_j φ_j,     (C K + ρ) α = s,     K = φ φᵀ,   ρ = ridge · mean of C K's diagonal

There are far fewer responses than parameters, so it is solved in α. φ, K and its factor hold no
report and serve all worlds; θ is linear in S. Where the quadratic model ends the held-out pool
decides: step k of `steps` stands at k/steps · longest_step · θ.
"""

from typing import ClassVar

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]
from torch import Tensor

from api_schemas.errors import RoundFailed
from api_schemas.training import NaturalGradient
from workers.base_models import BaseModel
from workers.mechanism.arrays import Floats
from workers.training.response_gradients import ResponseGradients, require_room
from workers.training.shares import Shares
from workers.training.task import TrainingTask
from workers.training.train_worlds import WorldsTrainer
from workers.training.worth import Worth, world_welfare, worth_on_pool


class NaturalGradientTrainer(WorldsTrainer):
    """Reads top to bottom in `_find_directions`: gradients, kernel, weights, directions."""

    kind: ClassVar[str] = "pool"

    def __init__(self, base: BaseModel, task: TrainingTask, shares: Shares | None = None):
        if not isinstance(task.settings, NaturalGradient):
            raise ValueError(f"natural_gradient can't train as {task.settings.method!r} announces")
        if task.regularizer != "kl":
            raise ValueError(f"natural_gradient can't train under {task.regularizer!r}, only 'kl'")
        super().__init__(base, task, shares)
        try:
            require_room(self.adapters, task.pool)
        except RoundFailed:
            self.close()  # else the base model, which others may use, would keep the adapters
            raise
        self.settings = task.settings
        self.found = torch.zeros(1)
        """1 once the directions are known."""
        self.directions = {
            name: torch.zeros_like(b.detach()) for name, b in self.adapters.b.items()
        }
        # ℓ on the pool at θ, by the first-order model.
        self.log_ratio_WXJ = torch.zeros((task.worlds, *task.pool.log_q_XJ.shape)).double()

    def kept_tensors(self) -> dict[str, Tensor]:
        directions = {f"direction.{name}": each for name, each in self.directions.items()}
        return {"found": self.found, "log_ratio": self.log_ratio_WXJ, **directions}

    @torch.no_grad()
    def _advance(self) -> dict[int, Worth]:
        if not self.found:
            self._find_directions()
        share = (self.step + 1) / self.settings.steps * self.settings.longest_step
        for name, b_Wor in self.adapters.b.items():
            b_Wor.copy_(share * self.directions[name])
        return {world: self._pool_worth(world, share) for world in self.active}

    def _find_directions(self) -> None:
        task = self.task
        gradients = self._gradients()
        kernel_NN = self._kernel(gradients)
        solve = DampedCurvature(
            kernel_NN,
            curvature(task.pool.log_q_XJ, task.prompt_weights_X, task.coefficient),
            self.settings.ridge,
        )
        for world in range(task.worlds):
            welfare_XJ = world_welfare(task.weights_WN[world], task.pool_rewards_NXJ)
            slope_XJ = slope(task.pool.log_q_XJ, task.prompt_weights_X, welfare_XJ)
            alpha_N = solve(slope_XJ.ravel())
            self.log_ratio_WXJ[world] = torch.from_numpy(kernel_NN @ alpha_N).view(slope_XJ.shape)
            alpha_XJ = torch.from_numpy(alpha_N).view(slope_XJ.shape)
            self._add_up_direction(world, alpha_XJ, gradients)
        self.shares.add_up(list(self.directions.values()))
        self.found.fill_(1)

    def _gradients(self) -> dict[int, dict[str, Tensor]]:
        """φ of this worker's prompts, centred by q, by prompt and layer; (J, out·r) each."""
        of_prompt = ResponseGradients(self.decoder, self.adapters, self.task.pool)
        q_XJ = torch.from_numpy(np.exp(self.task.pool.log_q_XJ))
        mine = range(self.shares.rank, len(self.task.prompts), self.shares.size)
        self.tokens += int(self.task.pool.lengths_XJ[list(mine)].sum())
        found = {}
        for x in mine:
            phi = {name: each.flatten(1) for name, each in of_prompt(x).items()}
            for each_JD in phi.values():
                each_JD -= q_XJ[x].to(each_JD) @ each_JD
            found[x] = phi
        return found

    def _kernel(self, gradients: dict[int, dict[str, Tensor]]) -> Floats:
        """K = φ φᵀ of all responses, float64; workers exchange one layer's φ at a time."""
        prompts, responses = self.task.pool.log_q_XJ.shape
        kernel_NN = np.zeros((prompts * responses, prompts * responses))
        for name, b_Wor in self.adapters.b.items():
            phi_XJD = b_Wor.new_zeros((prompts, responses, b_Wor[0].numel()))
            for x, phi in gradients.items():
                phi_XJD[x] = phi[name]
            self.shares.add_up([phi_XJD])
            phi_ND = phi_XJD.flatten(0, 1)
            kernel_NN += (phi_ND @ phi_ND.mT).double().cpu().numpy()
        return kernel_NN

    def _add_up_direction(
        self, world: int, alpha_XJ: Tensor, gradients: dict[int, dict[str, Tensor]]
    ) -> None:
        """θ = Σ_j α_j φ_j of this worker's prompts."""
        for x, phi in gradients.items():
            for name, phi_JD in phi.items():
                direction_or = self.directions[name][world]
                direction_or += (alpha_XJ[x].to(phi_JD) @ phi_JD).view_as(direction_or)

    def _pool_worth(self, world: int, share: float) -> Worth:
        task = self.task
        return worth_on_pool(
            share * self.log_ratio_WXJ[world].numpy(),
            task.pool.log_q_XJ,
            task.prompt_weights_X,
            world_welfare(task.weights_WN[world], task.pool_rewards_NXJ),
            task.coefficient,
            task.regularizer,
        )


def slope(log_q_XJ: Floats, prompt_weights_X: Floats, welfare_XJ: Floats) -> Floats:
    """s_j = w_x q_j (S_j − E_q S), shape (X, J): the gradient of welfare by ℓ at ℓ = 0."""
    q_XJ = np.exp(log_q_XJ)
    centred_XJ = welfare_XJ - np.sum(q_XJ * welfare_XJ, axis=1, keepdims=True)
    slope_XJ: Floats = prompt_weights_X[:, None] * q_XJ * centred_XJ
    return slope_XJ


def curvature(log_q_XJ: Floats, prompt_weights_X: Floats, coefficient: float) -> Floats:
    """c_j = λ w_x q_j, shape (X·J,)."""
    curvature_N: Floats = (coefficient * prompt_weights_X[:, None] * np.exp(log_q_XJ)).ravel()
    return curvature_N


class DampedCurvature:
    """Solves (C K + ρ) α = s as α = √C (√C K √C + ρ)⁻¹ s/√C, by one Cholesky factor for all s.

    A response without weight (c_j = 0) has s_j = 0 and takes no part.
    """

    def __init__(self, kernel_NN: Floats, curvature_N: Floats, ridge: float):
        self.root_N = np.sqrt(curvature_N)
        damped_NN = self.root_N[:, None] * kernel_NN * self.root_N
        mean = float(np.trace(damped_NN)) / len(damped_NN)
        # Where no response can be made likelier by any adapter, every direction is 0.
        damped_NN[np.diag_indices_from(damped_NN)] += ridge * mean if mean > 0 else 1.0
        self.factor = cho_factor(damped_NN, lower=True, overwrite_a=True)

    def __call__(self, slope_N: Floats) -> Floats:
        scaled_N = np.divide(
            slope_N, self.root_N, out=np.zeros_like(slope_N), where=self.root_N > 0
        )
        alpha_N: Floats = self.root_N * cho_solve(self.factor, scaled_N)
        return alpha_N
