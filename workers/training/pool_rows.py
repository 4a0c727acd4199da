"""The pool's responses as training rows, with what the frozen layers make of them."""

import torch
from torch import Tensor

from workers.decoder import Decoder, PackedRows, PromptRows, valid_tokens
from workers.pool.logprobs import ROW_TOKENS
from workers.pool.pool import Pool

KEPT_BYTES = 2 * 2**30
"""Frozen hidden states that are kept between steps; those of a larger pool are computed anew."""


class PoolRows:
    """One prompt's J responses at a time, packed behind the prompt in R rows of G each.

    R·G ≥ J: the last row is filled up with responses of length 0.
    """

    def __init__(self, decoder: Decoder, first_layer: int, pool: Pool):
        self.decoder, self.pool = decoder, pool
        self.bottom = range(first_layer)
        _, self.responses, self.tokens = pool.tokens_XJT.shape
        fitting = max(1, ROW_TOKENS // self.tokens)
        self.rows = -(-self.responses // fitting)
        self.each = -(-self.responses // self.rows)
        self._kept: dict[int, Tensor] | None = {} if self._fits() else None

    def packed(self, x: int) -> PackedRows:
        """Axes R, G, T."""
        prompts = PromptRows.of([self.pool.prompt_tokens[x]] * self.rows, self.decoder.device)
        return PackedRows(prompts, self._in_rows(self.pool.tokens_XJT[x]))

    def places(self, x: int) -> Tensor:
        """The M places on the axis R·G·T that hold a token; place // T is its response."""
        lengths_RG = self._in_rows(self.pool.lengths_XJ[x])
        return valid_tokens(lengths_RG, self.tokens).flatten().nonzero()[:, 0]

    @torch.no_grad()
    def bottom_hidden(self, x: int, rows: PackedRows) -> Tensor:
        """The bottom layers' output, shape (R, S, H); no adapter is on them."""
        if self._kept is not None and x in self._kept:
            return self._kept[x]
        embedded = self.decoder.embed(rows.tokens_RS)
        hidden = self.decoder.run(embedded, self.bottom, rows.positions_RS, rows.mask_RSS)
        if self._kept is not None:
            self._kept[x] = hidden
        return hidden

    def _fits(self) -> bool:
        """Whether the bottom layers' output of all prompts fits in KEPT_BYTES."""
        own = self.each * (self.tokens - 1)
        slots = self.rows * sum(own + len(prompt) for prompt in self.pool.prompt_tokens)
        size = int(self.decoder.model.config.hidden_size) * self.decoder.dtype.itemsize
        return slots * size <= KEPT_BYTES

    def _in_rows(self, values_J: Tensor) -> Tensor:
        """(J, …) as (R, G, …), filled up with zeros."""
        missing = self.rows * self.each - self.responses
        filler = values_J.new_zeros((missing, *values_J.shape[1:]))
        filled = torch.cat([values_J, filler]).to(self.decoder.device)
        return filled.view(self.rows, self.each, *values_J.shape[1:])
