"""Keys and values of rows that begin and end at different steps."""

import torch
from torch import Tensor

from workers.decoder import SlotCache


class RingCache(SlotCache):
    """A ring of slots for the responses' tokens, then the slots of the prompts.

    All rows write the token of a step to the same slot, whatever its place in its own response. The
    ring is as long as the longest response, so that a row's own tokens are still there when its
    last is computed, and it is written from its end: the slots in use lie together. Axes: R rows,
    S slots in use.
    """

    def __init__(self, prefilled: SlotCache, rows: int, ring: int, prompt_slots: int):
        super().__init__(ring + prompt_slots)
        self._ring, self._step = ring, 0
        self._used = slice(ring, ring + prompt_slots)
        for layer, (keys, values) in prefilled.layers.items():
            self.layers[layer] = (self._empty(keys, rows), self._empty(values, rows))

    @staticmethod
    def row_bytes(prefilled: SlotCache, slots: int) -> int:
        """What a row of so many slots takes, in all layers."""
        return slots * sum(
            each.shape[1] * each.shape[3] * each.element_size()
            for pair in prefilled.layers.values()
            for each in pair
        )

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_unused: object
    ) -> tuple[Tensor, Tensor]:
        """Called by the attention layers: store a token of each of the first R rows."""
        rows, stored = len(keys), self.layers[layer]
        for each, new in zip(stored, (keys, values), strict=True):
            each[:rows, :, self.start] = new[:, :, 0]
        return stored[0][:rows, :, self._used], stored[1][:rows, :, self._used]

    def advance(self, step: int, longest_prompt: int) -> None:
        """Go on to a step's slot, and use no more slots than some row sees."""
        self._step = step
        self.start = self._ring - 1 - step % self._ring
        self._used = slice(max(0, self._ring - 1 - step), self._ring + longest_prompt)

    def seen_RS(self, tokens_R: Tensor, prompt_lengths_R: Tensor) -> Tensor:
        """The slots in use that hold a row's prompt or one of its last `tokens_R` tokens."""
        slots_S = torch.arange(self._used.start, self._used.stop, device=tokens_R.device)
        steps_ago_S = (self._step - (self._ring - 1 - slots_S)) % self._ring
        of_response_RS = (slots_S < self._ring) & (steps_ago_S < tokens_R[:, None])
        of_prompt_RS = (slots_S >= self._ring) & (slots_S - self._ring < prompt_lengths_R[:, None])
        return of_response_RS | of_prompt_RS

    def take_prompts(self, rows: Tensor, prefilled: SlotCache, prompts: Tensor) -> None:
        """Copy prompts that were computed elsewhere into rows."""
        for layer, pair in prefilled.layers.items():
            for each, computed in zip(self.layers[layer], pair, strict=True):
                each[rows, :, self._ring : self._ring + computed.shape[2]] = computed[prompts]

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copy whole rows."""
        for pair in self.layers.values():
            for each in pair:
                each[targets] = each[sources]

    def _empty(self, like: Tensor, rows: int) -> Tensor:
        return like.new_zeros((rows, like.shape[1], self._slots, like.shape[3]))
