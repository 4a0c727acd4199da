"""The policy gradient of affine social welfare, from responses drawn from the policy itself.

KL. For one world, J = E_x E_{y~π} [ S(x, y) − λ Σ_t KL_t ], with S = Σ_i w_i r_i over its groups,
KL_t = KL(π(·|x, y<t) ‖ π₀(·|x, y<t)) computed exactly over the vocabulary. Its gradient is

    ∇J = E [ Σ_t (G_t − b_t) ∇log π(y_t|x, y<t) − λ Σ_t ∇KL_t ],   G_t = S − λ Σ_{s>t} KL_s

because a token influences the KL of later positions only. b_t is the mean of G_t over the other
responses to the same prompt (leave-one-out; Kool, van Hoof & Welling 2019; Ahmadian et al. 2024,
arXiv 2402.14740): it is independent of y, so it removes noise and no signal. The exact KL replaces
the sampled log-ratio for the same reason.

L2. D = E_x Σ_y (π(y|x) − π₀(y|x))² over whole responses, so that

    ∇J = E_x E_{y~π} [ (S − 2λ (π(y) − π₀(y)) − b) ∇log π(y) ]

with the same baseline; D has no sum over tokens, so every token carries the whole return. Over long
responses π(y) and π₀(y) are next to nothing, and so is D: on a drawn pool the announced D, which
counts a response's share of the pool, is another thing. pool_gradient trains on that one.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workers.decoder import valid_tokens
from workers.pool.logprobs import token_kl, token_log_probs


def returns_to_go(welfare_J: Tensor, kl_JT: Tensor, kl_coefficient: float) -> Tensor:
    """G_t = S − λ Σ_{s>t} KL_s, shape (J, T); `kl_JT` is 0 after a response's end."""
    later_JT = kl_JT.flip(-1).cumsum(-1).flip(-1) - kl_JT
    return welfare_J[:, None] - kl_coefficient * later_JT


def leave_one_out_advantages(returns_JT: Tensor, usable_J: Tensor) -> Tensor:
    """G minus the mean of the other usable responses' G; 0 where a response isn't usable."""
    usable_J1 = usable_J[:, None]
    kept_JT = torch.where(usable_J1, returns_JT, 0.0)
    others = (usable_J.sum() - 1).clamp(min=1)
    baseline_JT = (kept_JT.sum(0, keepdim=True) - kept_JT) / others
    enough = usable_J1 & (usable_J.sum() > 1)
    return torch.where(enough, kept_JT - baseline_JT, 0.0)


def kl_loss(
    logits_JTV: Tensor,
    base_logits_JTV: Tensor,
    tokens_JT: Tensor,
    lengths_J: Tensor,
    welfare_J: Tensor,
    kl_coefficient: float,
) -> tuple[Tensor, Tensor]:
    """−J of one prompt in one world, to be minimised, and the KL of each response in nats.

    `welfare_J` is S; a response whose S isn't finite (a reward model failed on it) is left out of
    the gradient instead of being given a number.
    """
    usable_J = torch.isfinite(welfare_J)
    valid_JT = valid_tokens(lengths_J, tokens_JT.shape[1])
    kl_JT = token_kl(logits_JTV, base_logits_JTV) * valid_JT
    log_probs_JT = token_log_probs(logits_JTV, tokens_JT) * valid_JT
    with torch.no_grad():
        returns_JT = returns_to_go(welfare_J.to(kl_JT.dtype), kl_JT, kl_coefficient)
        advantages_JT = leave_one_out_advantages(returns_JT, usable_J)
    gain_J = (advantages_JT * log_probs_JT - kl_coefficient * kl_JT).sum(-1)
    loss = -torch.where(usable_J, gain_J, 0.0).sum() / usable_J.sum().clamp(min=1)
    return loss, kl_JT.detach().sum(-1)


def l2_loss(
    logits_JTV: Tensor,
    base_logits_JTV: Tensor,
    tokens_JT: Tensor,
    lengths_J: Tensor,
    welfare_J: Tensor,
    l2_coefficient: float,
) -> tuple[Tensor, Tensor]:
    """−J of one prompt in one world, and an estimate of D from each response.

    The estimate is (π − π₀)²/π of a response drawn from π: never negative, and its mean is
    Σ_y (π − π₀)² without bias. Heavy-tailed where π has left what π₀ likes; the held-out pool gives
    the figure that training is judged by. `welfare_J` as for KL.
    """
    usable_J = torch.isfinite(welfare_J)
    valid_JT = valid_tokens(lengths_J, tokens_JT.shape[1])
    log_pi_J = (token_log_probs(logits_JTV, tokens_JT).double() * valid_JT).sum(-1)
    log_base_J = (token_log_probs(base_logits_JTV, tokens_JT).double() * valid_JT).sum(-1)
    with torch.no_grad():
        difference_J = log_pi_J.exp() - log_base_J.exp()
        returns_J1 = (welfare_J - 2 * l2_coefficient * difference_J)[:, None]
        advantages_J = leave_one_out_advantages(returns_J1, usable_J)[:, 0]
        divergence_J = difference_J * (1 - (log_base_J - log_pi_J).exp())
    gain_J = advantages_J * log_pi_J
    loss = -torch.where(usable_J, gain_J, 0.0).sum() / usable_J.sum().clamp(min=1)
    return loss, divergence_J


PromptLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
PROMPT_LOSSES: Mapping[str, PromptLoss] = {"kl": kl_loss, "l2": l2_loss}
"""By the regulariser's name: (logits, base logits, tokens, lengths, S, λ) → (−J, D a response)."""


def clip_by_world(parameters: list[torch.nn.Parameter], largest_norm: float) -> Tensor:
    """Scale each world's gradient to at most `largest_norm`; returns the norms before, shape (W,).

    Worlds are the first axis of every parameter: one norm over all would let one world's reward
    change another world's training.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares_W = torch.stack([g.flatten(1).pow(2).sum(1) for g in gradients]).sum(0)
    norms_W = squares_W.sqrt()
    scale_W = (largest_norm / norms_W.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale_W.view(-1, *[1] * (gradient.dim() - 1)))
    return norms_W
