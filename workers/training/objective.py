"""The policy gradient of affine social welfare.

For one world, J = E_x E_{y~π} [ S(x, y) − λ Σ_t KL_t ], with S = Σ_i w_i r_i over its groups and
KL_t = KL(π(·|x, y<t) ‖ π₀(·|x, y<t)) computed exactly over the vocabulary. Its gradient is

    ∇J = E [ Σ_t (G_t − b_t) ∇log π(y_t|x, y<t) − λ Σ_t ∇KL_t ],   G_t = S − λ Σ_{s>t} KL_s

because a token influences the KL of later positions only. b_t is the mean of G_t over the other
responses to the same prompt (leave-one-out; Kool, van Hoof & Welling 2019; Ahmadian et al. 2024,
arXiv 2402.14740): it is independent of y, so it removes noise and no signal. The exact KL replaces
the sampled log-ratio for the same reason.
"""

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


def prompt_loss(
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
