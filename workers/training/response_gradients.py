"""φ(x, j): the gradient of one response's log-probability by the adapters, at the initial model.

At B = 0 the gradient by A is 0, so φ is that by all layers' B (LoRA-FA, Zhang et al. 2023, arXiv
2308.03303, keeps A as it is for the same reason). Near the initial model

    log π_θ(y_j|x) − log π₀(y_j|x) = φ(x, j)·θ

to first order in θ = B. Nothing of any report is in φ: it is found once, for all worlds.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from api_schemas.errors import RoundFailed
from workers.decoder import Decoder, PackedRows, PromptRows, valid_tokens
from workers.pool.pool import Pool
from workers.training.pool_rows import PoolRows
from workers.training.stacked_lora import StackedAdapters
from workers.training.token_slopes import log_probs_and_slopes

KEPT_BYTES = 8 * 2**30
"""Of the gradients of all responses, at most."""
_GRAPH_SLOTS = 2048
"""Slots whose activations are held for the backward pass."""


def require_room(adapters: StackedAdapters, pool: Pool) -> None:
    """Raises RoundFailed, before anything is computed, for gradients that are too many to hold."""
    numbers = sum(b[0].numel() * b.element_size() for b in adapters.b.values())
    responses = pool.lengths_XJ.numel()
    if responses * numbers > KEPT_BYTES:
        raise RoundFailed(
            f"natural_gradient holds a gradient of {numbers / 2**20:.1f} MiB for each of the "
            f"pool's {responses} responses, more than {KEPT_BYTES / 2**30:.0f} GiB in all: announce"
            " fewer pool.samples_per_prompt, a smaller training.lora_rank or training.top_layers, "
            "or the method pool_gradient",
            code="gradients_over_budget",
        )


class ResponseGradients:
    """The gradients of a pool's responses, prompt by prompt and layer by layer."""

    def __init__(self, decoder: Decoder, adapters: StackedAdapters, pool: Pool):
        self.decoder, self.adapters, self.pool = decoder, adapters, pool
        self.rows = PoolRows(decoder, adapters.first_layer, pool)

    def __call__(self, x: int) -> dict[str, Tensor]:
        """φ of the J responses to a prompt, by layer; shapes (J, out, r)."""
        hidden_JSH = self._single_rows(x)
        tokens_JT = self.pool.tokens_XJT[x].to(hidden_JSH.device)
        lengths_J = self.pool.lengths_XJ[x].to(hidden_JSH.device)
        each = max(1, _GRAPH_SLOTS // hidden_JSH.shape[1])
        parts = [
            self._gradients(x, *block)
            for block in zip(
                hidden_JSH.split(each), tokens_JT.split(each), lengths_J.split(each), strict=True
            )
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _single_rows(self, x: int) -> Tensor:
        """The frozen layers' output with a row a response, shape (J, prompt + T − 1, H).

        Packed rows share the prompt's slots, through which their gradients would mix.
        """
        packed = self.rows.packed(x)
        hidden_RSH, prompt = self.rows.bottom_hidden(x, packed), packed.prompts.slots
        count, own = self.rows.responses, self.rows.tokens - 1
        own_JSH = hidden_RSH[:, prompt:].reshape(-1, own, hidden_RSH.shape[-1])[:count]
        return torch.cat([hidden_RSH[:1, :prompt].expand(count, -1, -1), own_JSH], 1)

    @torch.enable_grad()
    def _gradients(
        self, x: int, hidden_RSH: Tensor, tokens_RT: Tensor, lengths_R: Tensor
    ) -> Mapping[str, Tensor]:
        prompts = PromptRows.of([self.pool.prompt_tokens[x]] * len(tokens_RT), self.decoder.device)
        rows = PackedRows(prompts, tokens_RT[:, None])
        top = range(self.adapters.first_layer, self.decoder.n_layers)
        with self.adapters.each_row_its_own() as b_of_rows:
            out = self.decoder.run(hidden_RSH, top, rows.positions_RS, rows.mask_RSS)
        predicting_RTH = rows.predicting(out)[:, 0]
        predicting_RTH.backward(self._slopes(predicting_RTH, tokens_RT, lengths_R))
        found = {}
        for name, b_Ror in b_of_rows.items():
            assert b_Ror.grad is not None
            found[name] = b_Ror.grad
        return found

    def _slopes(self, hidden_RTH: Tensor, tokens_RT: Tensor, lengths_R: Tensor) -> Tensor:
        """∂ Σ_t log π(y_t) by the hidden states that predict them; 0 after a response's end."""
        valid_M = valid_tokens(lengths_R, tokens_RT.shape[1]).flatten()
        slopes_MH = torch.zeros_like(hidden_RTH).flatten(0, 1)
        _, slopes_MH[valid_M] = log_probs_and_slopes(
            self.decoder,
            hidden_RTH.flatten(0, 1)[valid_M],
            tokens_RT.flatten()[valid_M],
        )
        return slopes_MH.view_as(hidden_RTH)
