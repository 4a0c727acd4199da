"""What a token's log-probability is, and how it changes with the hidden state that predicts it."""

import torch
from torch import Tensor

from workers.decoder import Decoder
from workers.pool.logprobs import token_log_probs

LOGIT_ROWS = 512
"""Positions whose logits and their gradient are held at once."""


def log_probs_and_slopes(
    decoder: Decoder, hidden_MH: Tensor, tokens_M: Tensor
) -> tuple[Tensor, Tensor]:
    """(log π of each token, its gradient by its hidden state), shapes (M,) and (M, H).

    A token's log-probability depends on its own hidden state only, so the gradient of the sum
    holds each one's, and any weights can be put on it afterwards: logits are never kept.
    """
    log_probs, slopes = [], []
    pieces = zip(hidden_MH.detach().split(LOGIT_ROWS), tokens_M.split(LOGIT_ROWS), strict=True)
    for hidden, tokens in pieces:
        leaf = hidden.requires_grad_()
        found = token_log_probs(decoder.logits(leaf), tokens)
        slopes.append(torch.autograd.grad(found.sum(), leaf)[0])
        log_probs.append(found.detach())
    return torch.cat(log_probs), torch.cat(slopes)
