"""Texts to vectors by a frozen network: what a reward model on embeddings reads.

A sentence encoder embeds a text by the mean of its last layer over the text's tokens, divided by
its length (Reimers & Gurevych, "Sentence-BERT", EMNLP 2019). A language model embeds a prompt with
a response by its last hidden state, after the final norm, of the token that ends the response, as
in Sun, Shen & Ton (ICLR 2025). Always in float32: rows of a batch must not change one another.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from api_schemas.errors import InvalidInput
from workers import base_models
from workers.base_models import BaseModel, ResolvedBaseModel
from workers.reward_training.rows import tokenized

Kept = Literal["start", "end"]
"""Which end of a text stays when it is too long."""


class Encoder(Protocol):
    """What all encoders have in common; `tokens` of a text differ in what they are given."""

    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Shape (rows, size), float32, on the CPU; rows may differ in length."""
        ...


@dataclass(frozen=True)
class SentenceEncoder:
    model: Any
    tokenizer: Any
    context_tokens: int

    def tokens(self, text: str, max_tokens: int, kept: Kept) -> list[int]:
        """With the marks that the encoder puts around a text, which count too."""
        self.tokenizer.truncation_side = "right" if kept == "start" else "left"
        longest = min(max_tokens, self.context_tokens)
        return list(self.tokenizer(text, truncation=True, max_length=longest)["input_ids"])

    @torch.no_grad()
    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        tokens_RS, valid_RS = _padded(rows, self.model.device)
        hidden_RSH = self.model(input_ids=tokens_RS, attention_mask=valid_RS).last_hidden_state
        weights_RS1 = valid_RS[..., None].to(hidden_RSH.dtype)
        mean_RH = (hidden_RSH * weights_RS1).sum(1) / weights_RS1.sum(1)
        return torch.nn.functional.normalize(mean_RH, dim=1).cpu()


@dataclass(frozen=True)
class LastToken:
    base: BaseModel

    def tokens(self, prompt: str, response: str, max_tokens: int) -> list[int]:
        """The chat turn, the response and the end token, cut as for a model that is fine-tuned."""
        (found,) = tokenized(self.base, [prompt], [response], max_tokens)
        return [*found.prompt, *found.response]

    @torch.no_grad()
    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        body = self.base.model.model
        tokens_RS, valid_RS = _padded(rows, self.base.model.device)
        hidden_RSH = body(
            input_ids=tokens_RS, attention_mask=valid_RS, use_cache=False
        ).last_hidden_state
        last_R = valid_RS.sum(1) - 1
        vectors: Tensor = hidden_RSH[torch.arange(len(rows)), last_R].float().cpu()
        return vectors


@functools.lru_cache(maxsize=2)
def load(name: str, revision: str) -> SentenceEncoder | LastToken:
    """The encoder of this name, on the GPU where there is one.

    Raises InvalidInput if it has not the weights of `revision`, or can't be used.
    """
    resolved = base_models.resolve_pinned(name, revision)
    if base_models.is_sentence_encoder(resolved):
        return _sentence_encoder(resolved, str(base_models.default_device()))
    return LastToken(base_models.load_in_full_precision(name, revision))


def _sentence_encoder(resolved: ResolvedBaseModel, device: str) -> SentenceEncoder:
    import transformers

    _require_mean_pooling(resolved)
    folder = resolved.folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = transformers.AutoModel.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    model.requires_grad_(False).eval().to(device)
    # RoBERTa's positions begin after the padding's, so that it has fewer than it has embeddings.
    context = int(min(model.config.max_position_embeddings - 2, tokenizer.model_max_length))
    return SentenceEncoder(model, tokenizer, context)


def _require_mean_pooling(resolved: ResolvedBaseModel) -> None:
    """Raises InvalidInput if the encoder was trained to be pooled in another way."""
    file = resolved.folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return
    pooling = json.loads(file.read_text())
    modes = [name for name, used in pooling.items() if name.startswith("pooling_mode") and used]
    if modes != ["pooling_mode_mean_tokens"]:
        raise InvalidInput(
            f"encoder {resolved.name!r} pools by {', '.join(modes) or 'nothing'}; only "
            "pooling_mode_mean_tokens is supported",
            code="unsupported_base_model",
            param="encoder",
        )


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens padded on the right, and 1 for those that are none of the padding."""
    longest = max(len(row) for row in rows)
    tokens_RS = torch.zeros((len(rows), longest), dtype=torch.long)
    valid_RS = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, row in enumerate(rows):
        tokens_RS[place, : len(row)] = torch.tensor(row)
        valid_RS[place, : len(row)] = 1
    return tokens_RS.to(device), valid_RS.to(device)
