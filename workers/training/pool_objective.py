"""The exact gradient of affine social welfare on the pool, prompt by prompt.

A model is the policy π(j) ∝ q(j) exp(log π_θ(y_j) − log π₀(y_j)) on the responses of a prompt
(docs/mechanism.md §2), and J = Σ_j π S − λ·D(π ‖ q) is a function of log π_θ(y_j) alone:

    ∂J/∂ log π_θ(y_j) = π(j) (f(j) − Σ_k π(k) f(k))
    KL: f = S − λ log(π/q)          L2: f = S − 2λ (π − q)

(the constant that D/∂π adds to f under KL cancels). No sampling noise: every response counts with
its own weight, whatever policy it was drawn from.
"""

import math

import torch
from torch import Tensor

from workers.training.worth import Worth


def pool_ascent(
    log_ratio_J: Tensor,
    log_q_J: Tensor,
    welfare_J: Tensor,
    coefficient: float,
    regularizer: str,
    largest_kl: float,
) -> tuple[Tensor, Worth]:
    """(∂J/∂ log π_θ(y_j), shape (J,); what the policy is worth on this prompt). float64 in and out.

    `log_ratio_J` is log π_θ(y_j) − log π₀(y_j). `largest_kl` is the trust region in nats: beyond it
    the rewards are left out of the gradient, which then only pulls back to q.
    """
    log_policy_J = (log_q_J + log_ratio_J).log_softmax(0)
    policy_J, q_J = log_policy_J.exp(), log_q_J.exp()
    # log q + log ratio is −inf where q is 0: such a response counts for nothing.
    log_tilt_J = torch.where(policy_J > 0, log_policy_J - log_q_J, 0.0)
    kl = float(policy_J @ log_tilt_J)
    if regularizer == "kl":
        divergence, slope_J = kl, log_tilt_J
    elif regularizer == "l2":
        difference_J = policy_J - q_J
        divergence, slope_J = float(difference_J @ difference_J), 2 * difference_J
    else:
        raise ValueError(f"regularizer = {regularizer!r}, expected 'kl' or 'l2'")
    reward = float(policy_J @ welfare_J)
    worth = Worth(reward - coefficient * divergence, reward, divergence)
    # Not `kl <= largest_kl`: a policy that isn't a number has no place to be pulled back from.
    trusted = not kl > largest_kl and math.isfinite(kl)
    f_J = (welfare_J if trusted else torch.zeros_like(welfare_J)) - coefficient * slope_J
    return policy_J * (f_J - policy_J @ f_J), worth
