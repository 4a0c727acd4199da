"""Sampling responses at temperature 1, for one model or for all worlds in one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.decoder import Decoder, PromptRows, SlotCache
from workers.pool.inversion import as_thresholds, invert
from workers.training.stacked_lora import StackedAdapters

MAX_ROWS = 256
"""Responses drawn at once. Larger batches are no faster on a CPU, and the cache grows with them."""


@dataclass(frozen=True)
class Rollouts:
    """Responses of K worlds (K = 1 for the base model) to P prompts, J each, at most T tokens.

    Tokens after a response's end are 0. `prompt_hidden_PSH` and `response_hidden` are the frozen
    bottom layers' outputs at every slot, which sampling computes anyway and training needs again.
    """

    prompts: PromptRows
    tokens_KPJT: Tensor
    lengths_KPJ: Tensor
    prompt_hidden_PSH: Tensor
    response_hidden_KPJTH: Tensor


@torch.no_grad()
def sample(
    decoder: Decoder,
    adapters: StackedAdapters | None,
    worlds: list[int] | None,
    prompts: list[list[int]],
    uniforms_PJT: Tensor,
    end_tokens: frozenset[int],
) -> Rollouts:
    """Draw J responses a prompt and world by inverting the cumulative distribution.

    One uniform decides one token, and all worlds share the uniforms: worlds with similar policies
    draw similar responses, so that differences between worlds carry less noise. `worlds` None
    samples the base model.
    """
    samples = uniforms_PJT.shape[1]
    per_call = max(1, MAX_ROWS // (len(worlds or [0]) * samples))
    rows = PromptRows.of(prompts, decoder.device)
    parts = []
    for start in range(0, len(prompts), per_call):
        chosen = slice(start, start + per_call)
        part = PromptRows(rows.tokens_PS[chosen], rows.lengths_P[chosen])
        sampler = _Sampler(decoder, adapters, worlds, part, samples, uniforms_PJT.shape[2])
        parts.append(sampler.run(uniforms_PJT[chosen], end_tokens))
    return Rollouts(
        prompts=rows,
        tokens_KPJT=torch.cat([part.tokens_KPJT for part in parts], 1),
        lengths_KPJ=torch.cat([part.lengths_KPJ for part in parts], 1),
        prompt_hidden_PSH=torch.cat([part.prompt_hidden_PSH for part in parts]),
        response_hidden_KPJTH=torch.cat([part.response_hidden_KPJTH for part in parts], 1),
    )


class _Sampler:
    """One batch: prefill each prompt once, then one token a step for all K·P·J responses."""

    def __init__(
        self,
        decoder: Decoder,
        adapters: StackedAdapters | None,
        worlds: list[int] | None,
        prompts: PromptRows,
        samples: int,
        tokens: int,
    ):
        self.decoder, self.adapters, self.worlds = decoder, adapters, worlds
        self.prompts, self.samples, self.tokens = prompts, samples, tokens
        first = adapters.first_layer if adapters else decoder.n_layers
        self.bottom, self.top = range(first), range(first, decoder.n_layers)
        self.n_worlds = len(worlds) if worlds is not None else 1
        prompt_of_row = torch.arange(len(prompts.lengths_P), device=decoder.device)
        self.prompt_of_row = prompt_of_row.repeat_interleave(samples).repeat(self.n_worlds)
        self.row_lengths = prompts.lengths_P[self.prompt_of_row]
        self.cache = SlotCache(prompts.slots + tokens)

    def run(self, uniforms_PJT: Tensor, end_tokens: frozenset[int]) -> Rollouts:
        prompt_hidden_PSH, last_RH = self._prefill()
        rows = len(self.prompt_of_row)
        uniforms_RT = uniforms_PJT.flatten(0, 1).repeat(self.n_worlds, 1)
        uniforms_RT = as_thresholds(uniforms_RT, self.decoder.device)
        ends = torch.tensor(sorted(end_tokens), device=self.decoder.device)
        tokens_RT = torch.zeros((rows, self.tokens), dtype=torch.long, device=self.decoder.device)
        hidden_RTH = last_RH.new_zeros((rows, self.tokens, last_RH.shape[-1]))
        lengths_R = torch.full((rows,), self.tokens, device=self.decoder.device)
        for t in range(self.tokens):
            drawn_R = invert(self.decoder.logits(last_RH), uniforms_RT[:, t : t + 1])[:, 0]
            ended = lengths_R <= t
            tokens_RT[:, t] = torch.where(ended, 0, drawn_R)
            lengths_R = torch.where(~ended & torch.isin(drawn_R, ends), t + 1, lengths_R)
            if t + 1 == self.tokens or bool((lengths_R <= t + 1).all()):
                break
            hidden_RTH[:, t], last_RH = self._step(tokens_RT[:, t], t)
        shape = (self.n_worlds, len(self.prompts.lengths_P), self.samples)
        return Rollouts(
            prompts=self.prompts,
            tokens_KPJT=tokens_RT.view(*shape, -1),
            lengths_KPJ=lengths_R.view(shape),
            prompt_hidden_PSH=prompt_hidden_PSH,
            response_hidden_KPJTH=hidden_RTH.view(*shape, self.tokens, -1),
        )

    def _prefill(self) -> tuple[Tensor, Tensor]:
        """Bottom layers once a prompt, top layers once a prompt and world, then copy the cache."""
        prompts, decoder, count = self.prompts, self.decoder, len(self.prompts.lengths_P)
        hidden_PSH = decoder.run(
            decoder.embed(prompts.tokens_PS),
            self.bottom,
            prompts.positions_PS,
            prompts.causal_PSS,
            self.cache,
        )
        of_world = torch.arange(count, device=decoder.device).repeat(self.n_worlds)
        spread = prompts.take(of_world)
        top_KPSH = self._top(hidden_PSH[of_world], spread.positions_PS, spread.causal_PSS)
        world_of_row = torch.arange(self.n_worlds, device=decoder.device)
        world_of_row = world_of_row.repeat_interleave(count * self.samples)
        self.cache.take_rows(self.prompt_of_row, self.bottom)
        self.cache.take_rows(world_of_row * count + self.prompt_of_row, self.top)
        last_KPH = top_KPSH[torch.arange(len(of_world)), spread.lengths_P - 1]
        return hidden_PSH, last_KPH[world_of_row * count + self.prompt_of_row]

    def _step(self, tokens_R: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Feed one token a row; returns the bottom's and the top's hidden states."""
        self.cache.start = self.prompts.slots + t
        slots = torch.arange(self.cache.start + 1, device=self.decoder.device)
        seen_RS = (slots < self.row_lengths[:, None]) | (slots >= self.prompts.slots)
        positions_R1 = (self.row_lengths + t)[:, None]
        hidden_R1H = self.decoder.run(
            self.decoder.embed(tokens_R[:, None]),
            self.bottom,
            positions_R1,
            seen_RS[:, None],
            self.cache,
        )
        top_R1H = self._top(hidden_R1H, positions_R1, seen_RS[:, None])
        return hidden_R1H[:, 0], top_R1H[:, 0]

    def _top(self, hidden: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        if self.adapters is None:
            return self.decoder.run(hidden, self.top, positions, mask, self.cache)
        with self.adapters.select(self.worlds):
            return self.decoder.run(hidden, self.top, positions, mask, self.cache)
