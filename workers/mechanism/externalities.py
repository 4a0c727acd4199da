"""On one prompt: the grand world's optimum, and from it what each group's presence costs.

No world without a group is solved from scratch, so a group costs O(J). docs/mechanism.md §2.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workers.mechanism.arrays import Floats, Mask
from workers.mechanism.regularizers import project_on_simplex
from workers.mechanism.revenue import gain_of_a_response
from workers.mechanism.tilting import tilt

_SLACK = 1e-9
"""Relative; keeping a response too many costs time only."""

_NEVER_USED = -3.0
"""A response pulled by less than −2 relative to the best gets no weight, as every threshold is at
least −1; replacing its pull by this one keeps sums finite for every λ."""


@dataclass(frozen=True, eq=False)
class PromptCosts:
    """Of some groups on one prompt, agent·reward units, before the prompt's weight.

    `payments_N`: the others' loss by the group's presence. `least_gains_N`: the least that the
    others' optimum gains when one response becomes worth 1 more; the surcharge's term.
    """

    payments_N: Floats
    least_gains_N: Floats | None


class PromptOptimum(Protocol):
    """The welfare-maximal policy of one prompt, for all groups."""

    policy_J: Floats
    divergence: float
    welfare: float

    def costs(self, own_NJ: Floats, with_gains: bool) -> PromptCosts:
        """What the groups with wᵢ rᵢ(j) = `own_NJ`, any number of them, cost the others."""


class KLOptimum:
    """π* ∝ q·exp(S/λ) for one prompt; `q_J` sums to 1, `welfare_J` is S = Σᵢ wᵢ rᵢ."""

    def __init__(self, q_J: Floats, welfare_J: Floats, coefficient: float) -> None:
        with np.errstate(divide="ignore"):
            self._log_q_1J = np.log(q_J)[None]
        self._welfare_J, self._coefficient = welfare_J, coefficient
        optimum = tilt(self._log_q_1J, welfare_J[None], coefficient)
        self.policy_J: Floats = np.exp(optimum.log_policy_XJ[0])
        self.divergence = float(optimum.divergence_X[0])
        self.welfare = float(optimum.soft_maximum_X[0])

    def costs(self, own_NJ: Floats, with_gains: bool) -> PromptCosts:
        """p = Σ_j π*(j) own(j) + λ log Σ_j π*(j) exp(−own(j)/λ), at least 0 by Jensen.

        The second term is ASW₋ᵢ(ψ₋ᵢ) − ASW(ψ). docs/mechanism.md §2.
        """
        change_N = self._change_of_mass(own_NJ)
        lost_N = self._coefficient * np.log1p(np.maximum(change_N, -0.5))
        # Near −1 the sum has lost the digits of the responses that i likes least.
        far_N = ~(change_N > -0.5)
        if far_N.any():
            lost_N[far_N] = self._soft_maximum(own_NJ[far_N]) - self.welfare
        payments_N = (self.policy_J * own_NJ).sum(axis=1) + lost_N
        gains_N = self._least_gains(own_NJ, lost_N) if with_gains else None
        return PromptCosts(payments_N, gains_N)

    def _change_of_mass(self, own_NJ: Floats) -> Floats:
        """Σ_j π*(j)·(exp(−own(j)/λ) − 1), in place: this is where a large pool's time goes."""
        with np.errstate(over="ignore", under="ignore"):
            work_NJ = own_NJ / -self._coefficient
            np.expm1(work_NJ, out=work_NJ)
            work_NJ *= self.policy_J
        change_N: Floats = work_NJ.sum(axis=1)
        return change_N

    def _soft_maximum(self, own_NJ: Floats) -> Floats:
        others_NJ = self._welfare_J - own_NJ
        return tilt(self._log_q_1J, others_NJ, self._coefficient).soft_maximum_X

    def _least_gains(self, own_NJ: Floats, lost_N: Floats) -> Floats:
        # λ log π*₋ᵢ(j) = λ log q(j) + S₋ᵢ(j) − ASW₋ᵢ(ψ₋ᵢ)
        level_J = self._coefficient * self._log_q_1J[0] + self._welfare_J
        lowest_N = (level_J - own_NJ).min(axis=1) - (self.welfare + lost_N)
        return gain_of_a_response(lowest_N, self._coefficient)


class L2Optimum:
    """π* = q + δ, the projection of q + S/(2λ), for one prompt; arguments as `KLOptimum`.

    Worked with δ, not π: λ‖δ‖² keeps its digits when λ is large and δ small.
    `largest_size` is max wᵢ: with it the responses are found that no optimum without a group uses.
    """

    def __init__(
        self, q_J: Floats, welfare_J: Floats, coefficient: float, largest_size: float
    ) -> None:
        self._coefficient = coefficient
        relative_J = welfare_J - welfare_J.max()
        pull_J = self._pull(relative_J)
        shift_J = self._shift(q_J, pull_J, 0.0)
        self.policy_J: Floats = np.maximum(q_J + shift_J, 0.0)
        self.divergence = float((shift_J**2).sum())
        value = float((self.policy_J * relative_J).sum() + welfare_J.max())
        self.welfare = value - coefficient * self.divergence
        threshold = float((pull_J - shift_J).max())
        height_J = relative_J + 2 * coefficient * (q_J - threshold)
        self._keep(q_J, welfare_J, height_J >= -(largest_size + 1) * (1 + _SLACK))

    def _keep(self, q_J: Floats, welfare_J: Floats, used_J: Mask) -> None:
        """Keep the responses that some optimum may use, without one group or with one more agent.

        With a = q + S/(2λ) and its threshold τ: leaving out i lowers entries of a by at most
        wᵢ/(2λ) and raises none, so τ falls by no more. A response with a < τ − (max wᵢ + 1)/(2λ)
        has no weight in any ψ₋ᵢ, and would have none if it were worth 1 more.
        """
        self._kept_J = None if used_J.all() else used_J
        self._q_K, self._welfare_K = q_J[used_J], welfare_J[used_J]
        self._dropped_mass = float(q_J[~used_J].sum())
        pull_K = self._pull(self._welfare_K - self._welfare_K.max())
        self._shift_K = self._shift(self._q_K, pull_K, self._dropped_mass)

    def costs(self, own_NJ: Floats, with_gains: bool) -> PromptCosts:
        """p = ASW₋ᵢ(q + δ′) − ASW₋ᵢ(q + δ) = Σ_j (δ′ − δ)·(S₋ᵢ − λ(δ′ + δ)), δ′ the shift of ψ₋ᵢ.

        As Σ_j (δ′ − δ) = 0, a constant may be taken from S₋ᵢ; 0 exactly where ψ₋ᵢ is ψ.
        """
        own_NK = own_NJ if self._kept_J is None else own_NJ[:, self._kept_J]
        others_NK = self._welfare_K - own_NK
        others_NK -= others_NK.max(axis=1, keepdims=True)
        shift_NK = self._shift(self._q_K, self._pull(others_NK), self._dropped_mass)
        payments_N = self._difference(others_NK, shift_NK, self._shift_K)
        gains_N = self._least_gains(others_NK, shift_NK) if with_gains else None
        return PromptCosts(payments_N, gains_N)

    def _least_gains(self, others_NK: Floats, shift_NK: Floats) -> Floats:
        """What 1 more on the lowest entry of a = q + S₋ᵢ/(2λ) gains; `revenue.surcharges`."""
        if self._kept_J is not None:  # 1 more on a dropped response changes nothing
            return np.zeros(len(others_NK))
        rows = np.arange(len(others_NK))
        least_N = (2 * self._coefficient * self._q_K + others_NK).argmin(axis=1)
        raised_NK = others_NK.copy()
        raised_NK[rows, least_N] += 1.0
        raised_NK -= raised_NK.max(axis=1, keepdims=True)
        after_NK = self._shift(self._q_K, self._pull(raised_NK), self._dropped_mass)
        had_N = np.maximum(self._q_K[least_N] + shift_NK[rows, least_N], 0.0)
        gains_N: Floats = self._difference(raised_NK, after_NK, shift_NK) + had_N
        return gains_N

    def _difference(self, welfare_NK: Floats, to_NK: Floats, from_NK: Floats) -> Floats:
        """Σ π S − λ‖π − q‖² at π = q + `to`, less the same at π = q + `from`."""
        slope_NK = to_NK + from_NK
        slope_NK *= -self._coefficient
        slope_NK += welfare_NK
        slope_NK *= to_NK - from_NK
        difference_N: Floats = slope_NK.sum(axis=1)
        return difference_N

    def _pull(self, relative: Floats) -> Floats:
        """S/(2λ), with S relative to its largest entry."""
        with np.errstate(over="ignore"):
            pull: Floats = np.maximum(relative / (2 * self._coefficient), _NEVER_USED)
        return pull

    @staticmethod
    def _shift(q_K: Floats, pull: Floats, dropped_mass: float) -> Floats:
        """δ = max(pull − t, −q) with Σ δ = the q of responses left out, shape of `pull`.

        The projection of q + pull names the responses in use; over them t is a mean, and it loses
        no digits to q.
        """
        pull_NK = np.atleast_2d(pull)
        used_NK = project_on_simplex(q_K + pull_NK) > 0
        unused_mass_N = (q_K * ~used_NK).sum(axis=1) + dropped_mass
        level_N = ((pull_NK * used_NK).sum(axis=1) - unused_mass_N) / used_NK.sum(axis=1)
        shift: Floats = np.maximum(pull_NK - level_N[:, None], -q_K)
        return shift.reshape(pull.shape)
