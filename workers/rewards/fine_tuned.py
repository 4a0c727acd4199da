"""A reward model that is a LoRA adapter with a score head, over a named base model.

    r(x, y) = w · norm(h_last),   h_last the adapted base's last hidden state at the end token

The sequence is the prompt as one user turn of the chat template, the response, and the end token.
Its saved form is a PEFT adapter for sequence classification with one label: safetensors, with what
else is needed in the metadata.
"""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from workers.mechanism.arrays import Floats
from workers.rewards.adapter_shapes import check_adapter_tensors, read_header

if TYPE_CHECKING:
    from workers.base_models import BaseModel
    from workers.reward_training.lora import LoraAdapter
    from workers.reward_training.network import RewardNetwork


@dataclass(frozen=True, eq=False)
class FineTunedReward:
    """The bytes of the adapter are the model; the network is built when it first scores."""

    uses_model: ClassVar[bool] = True

    data: bytes

    @classmethod
    def from_adapter(
        cls, adapter: "LoraAdapter", *, base_model: str, revision: str, max_tokens: int
    ) -> Self:
        from workers.tensors import pack

        settings = {
            "base_model": base_model,
            "revision": revision,
            "lora_alpha": adapter.alpha,
            "use_rslora": adapter.use_rslora,
            "max_tokens": max_tokens,
        }
        return cls(pack(adapter.tensors(), settings))

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """w · norm(h_last) of each response, shape (len(responses),)."""
        from workers.reward_training.rows import tokenized

        if not responses:
            return np.zeros(0)
        sequences = tokenized(self._base, prompts, responses, int(self.settings["max_tokens"]))
        return self._network.score(sequences)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Base model, its revision, alpha, and max_tokens."""
        settings: dict[str, Any] = json.loads(
            read_header(io.BytesIO(self.data))["__metadata__"]["meta"]
        )
        return settings

    @property
    def _base(self) -> "BaseModel":
        from workers.base_models import load_in_full_precision

        return load_in_full_precision(self.settings["base_model"], self.settings["revision"])

    @cached_property
    def _network(self) -> "RewardNetwork":
        from workers.reward_training.network import RewardNetwork

        return RewardNetwork(self._base, [self.adapter()])

    def adapter(self) -> "LoraAdapter":
        """The weights."""
        from workers.reward_training.lora import LoraAdapter
        from workers.tensors import unpack

        tensors, settings = unpack(self.data)
        header, config = read_header(io.BytesIO(self.data)), self._base.model.config.to_dict()
        # An average of adapters has the sum of their ranks, beyond what an upload may have.
        shapes = check_adapter_tensors(header, config, max_rank=sys.maxsize)
        alpha, use_rslora = settings["lora_alpha"], settings["use_rslora"]
        return LoraAdapter.from_tensors(tensors, shapes, alpha=alpha, use_rslora=use_rslora)

    def to_bytes(self) -> bytes:
        return self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls(data)
