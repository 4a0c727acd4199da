"""A Llama-layout causal language model run layer by layer, and rows that share a prompt.

Running layers by hand lets the frozen bottom be computed once for all worlds, and lets one row
hold a prompt and several responses, so that the prompt's tokens are computed once.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from api_schemas.errors import InvalidInput


class Decoder:
    """The parts of a Llama-layout model (Llama, Mistral, Qwen, SmolLM …) under stable names.

    Axes: R rows, S slots of a row, H hidden units, V vocabulary.
    """

    def __init__(self, model: Any):
        body: Any = getattr(model, "model", None)
        missing = [
            name
            for name in ("layers", "embed_tokens", "norm", "rotary_emb")
            if not hasattr(body, name)
        ]
        if missing or not hasattr(model, "lm_head"):
            raise InvalidInput(
                f"base_model of type {type(model).__name__} hasn't the Llama layout (no "
                f"{', '.join(missing) or 'lm_head'}); Llama, Mistral, Qwen and SmolLM models have",
                code="unsupported_base_model",
                param="base_model",
            )
        self.model: Any = model
        self._body: Any = body
        self.n_layers = len(body.layers)
        self.device: torch.device = body.embed_tokens.weight.device
        self.dtype: torch.dtype = body.embed_tokens.weight.dtype

    def embed(self, tokens_RS: Tensor) -> Tensor:
        return self._body.embed_tokens(tokens_RS)  # type: ignore[no-any-return]

    def run(
        self,
        hidden_RSH: Tensor,
        layers: range,
        positions_RS: Tensor,
        mask_RSK: Tensor,
        cache: "SlotCache | None" = None,
    ) -> Tensor:
        """The hidden states after `layers`; `mask_RSK` is true where a slot sees a key slot."""
        rotary = self._body.rotary_emb(hidden_RSH, position_ids=positions_RS)
        for index in layers:
            hidden_RSH = self._body.layers[index](
                hidden_RSH,
                attention_mask=mask_RSK[:, None],
                position_ids=positions_RS,
                position_embeddings=rotary,
                past_key_values=cache,
            )
        return hidden_RSH

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary in float32 (float64 stays), shape (…, V)."""
        logits: Tensor = self.model.lm_head(self._body.norm(hidden))
        return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def require_faithful(model: Any) -> None:
    """Raise InvalidInput unless `Decoder` gives the model's own logits.

    Models of nearly the same layout scale embeddings, residuals or logits; run without that they
    would give figures that look right and are wrong.
    """
    decoder = Decoder(model)
    vocabulary = int(model.config.vocab_size)
    tokens_RS = torch.arange(8, device=decoder.device)[None] % vocabulary
    rows = PromptRows(tokens_RS, torch.tensor([8], device=decoder.device))
    hidden = decoder.run(
        decoder.embed(tokens_RS), range(decoder.n_layers), rows.positions_PS, rows.causal_PSS
    )
    found, expected = decoder.logits(hidden), model(input_ids=tokens_RS).logits.float()
    tolerance = 0.05 if decoder.dtype == torch.bfloat16 else 1e-3
    worst = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    if not worst <= tolerance:
        raise InvalidInput(
            f"base_model of type {type(model).__name__} computes its logits in a way of its own "
            f"(they differ by {worst:.1%}); plain Llama, Mistral, Qwen and SmolLM models don't",
            code="unsupported_base_model",
            param="base_model",
        )


class SlotCache:
    """Keys and values of every layer in preallocated slots.

    `torch.cat` for each token, as a growing cache does, would copy the whole cache each time.
    """

    def __init__(self, slots: int):
        self._slots = slots
        self.start = 0
        """The slot that the next tokens are written to."""
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_unused: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by the attention layers: store (R, heads, S, size), return all slots so far."""
        if layer not in self.layers:
            rows, heads, _, size = keys.shape
            empty = keys.new_zeros((rows, heads, self._slots, size))
            self.layers[layer] = (empty, empty.clone())
        stop = self.start + keys.shape[2]
        stored_keys, stored_values = self.layers[layer]
        stored_keys[:, :, self.start : stop] = keys
        stored_values[:, :, self.start : stop] = values
        return stored_keys[:, :, :stop], stored_values[:, :, :stop]

    def take_rows(self, rows: Tensor, layers: range) -> None:
        """Replace the rows of `layers` by a selection (with repetition)."""
        for layer in layers:
            keys, values = self.layers[layer]
            self.layers[layer] = (keys[rows], values[rows])


@dataclass(frozen=True)
class PromptRows:
    """Prompts as rows, padded on the right to the longest. Axes: P prompts, S slots."""

    tokens_PS: Tensor
    lengths_P: Tensor

    @classmethod
    def of(cls, prompts: list[list[int]], device: torch.device) -> "PromptRows":
        longest = max(len(prompt) for prompt in prompts)
        tokens_PS = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in zip(tokens_PS, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        lengths_P = torch.tensor([len(prompt) for prompt in prompts])
        return cls(tokens_PS.to(device), lengths_P.to(device))

    def take(self, rows: Tensor) -> "PromptRows":
        return PromptRows(self.tokens_PS[rows], self.lengths_P[rows])

    @property
    def slots(self) -> int:
        return self.tokens_PS.shape[1]

    @property
    def positions_PS(self) -> Tensor:
        return torch.arange(self.slots, device=self.tokens_PS.device).expand_as(self.tokens_PS)

    @property
    def causal_PSS(self) -> Tensor:
        """Each slot sees itself and those before it; padding is seen by later padding only."""
        slots = torch.arange(self.slots, device=self.tokens_PS.device)
        return (slots[None, :] <= slots[:, None]).expand(len(self.lengths_P), -1, -1)

    @property
    def valid_PS(self) -> Tensor:
        slots = torch.arange(self.slots, device=self.tokens_PS.device)
        return slots[None, :] < self.lengths_P[:, None]


@dataclass(frozen=True)
class PackedRows:
    """Rows of one prompt and G responses of T tokens each, side by side.

    A response sees the prompt and itself, not its neighbours. Its last token has no slot: nothing
    is predicted from it. Axes: R rows, G responses, T tokens, S = prompt slots + G·(T−1).
    """

    prompts: PromptRows
    responses_RGT: Tensor

    @property
    def tokens_RS(self) -> Tensor:
        return torch.cat([self.prompts.tokens_PS, self.responses_RGT[..., :-1].flatten(1)], 1)

    @property
    def positions_RS(self) -> Tensor:
        _, responses, tokens = self.responses_RGT.shape
        offsets = torch.arange(tokens - 1, device=self.responses_RGT.device).repeat(responses)
        return torch.cat(
            [self.prompts.positions_PS, self.prompts.lengths_P[:, None] + offsets[None]], 1
        )

    @property
    def mask_RSS(self) -> Tensor:
        rows, responses, tokens = self.responses_RGT.shape
        device = self.responses_RGT.device
        prompt_slots, slots = self.prompts.slots, responses * (tokens - 1)
        response = torch.arange(responses, device=device).repeat_interleave(tokens - 1)
        order = torch.arange(slots, device=device)
        own = (response[:, None] == response[None, :]) & (order[None, :] <= order[:, None])
        total = prompt_slots + slots
        mask = torch.zeros((rows, total, total), dtype=torch.bool, device=device)
        mask[:, :prompt_slots, :prompt_slots] = self.prompts.causal_PSS
        mask[:, prompt_slots:, :prompt_slots] = self.prompts.valid_PS[:, None, :]
        mask[:, prompt_slots:, prompt_slots:] = own
        return mask

    def predicting(self, hidden_RSH: Tensor) -> Tensor:
        """The hidden states that predict each response token, shape (R, G, T, H).

        The first token is predicted from the prompt's last slot, the others from their
        predecessor's.
        """
        rows, responses, tokens = self.responses_RGT.shape
        last = (self.prompts.lengths_P - 1)[:, None, None].expand(rows, responses, 1)
        own = torch.arange(responses * (tokens - 1), device=hidden_RSH.device)
        own = (self.prompts.slots + own).view(1, responses, tokens - 1).expand(rows, -1, -1)
        slots_RGT = torch.cat([last, own], 2)
        row_R11 = torch.arange(rows, device=hidden_RSH.device)[:, None, None]
        return hidden_RSH[row_R11, slots_RGT]


def valid_tokens(lengths: Tensor, tokens: int) -> Tensor:
    """True for the tokens of each response that were really drawn; shape (…, T)."""
    return torch.arange(tokens, device=lengths.device) < lengths[..., None]
