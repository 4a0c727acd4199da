"""The features of a prompt with a response, from embeddings that are computed once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from workers.reward_training.embedding_cache import EmbeddingCache, Vectors
from workers.rewards.interfaces import Progress, no_progress
from workers.texts import in_utf8

if TYPE_CHECKING:
    from workers.reward_training.encoders import Encoder

_VERSION = 1
"""Part of every key: raise it with any change of how a text becomes a vector."""

_BATCH_TOKENS = 2048
"""Tokens of one batch, padding included: about as fast as any, and 100 MiB at most."""


@dataclass(frozen=True)
class TextFeatures:
    """An encoder by name and revision, and the tokens that it reads of a text at most.

    Sentence encoders embed prompt p and response y apart, and the features are [p, y]: their
    products p∘y beside them gained nothing on any data tried (docs/reward-models.md). A language
    model embeds both together, and that is the features.
    """

    encoder: str
    revision: str
    max_tokens: int

    def of(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        progress: Progress = no_progress,
    ) -> Vectors:
        """Features of each pair, float32 of shape (len(responses), size), for at least one pair.

        Raises InvalidInput if the encoder's weights aren't those of the revision.
        """
        from workers.reward_training.encoders import SentenceEncoder, load

        encoder = load(self.encoder, self.revision)
        prompts, responses = in_utf8(prompts), in_utf8(responses)
        most = self.max_tokens
        if not isinstance(encoder, SentenceEncoder):
            pairs = list(zip(prompts, responses, strict=True))
            return self._vectors(
                encoder, pairs, lambda each: encoder.tokens(each[0], each[1], most), progress
            )
        # Of a long dialogue the last turns say what is asked for; of a response, its beginning.
        texts = [(prompt, "end") for prompt in prompts] + [(text, "start") for text in responses]
        vectors = self._vectors(
            encoder, texts, lambda each: encoder.tokens(each[0], most, each[1]), progress
        )
        return np.concatenate([vectors[: len(prompts)], vectors[len(prompts) :]], axis=1)

    def record(self) -> dict[str, Any]:
        """As JSON, from which `from_record` makes the same."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        return cls(**record)

    def _vectors(
        self,
        encoder: "Encoder",
        inputs: Sequence[tuple[str, str]],
        tokens: Callable[[Any], list[int]],
        progress: Progress,
    ) -> Vectors:
        """A row for each input; what the cache lacks is computed, each distinct input once."""
        cache = EmbeddingCache.default()
        keys = [self._key(each) for each in inputs]
        distinct = len(set(keys))
        found = cache.get(keys)
        missing = {key: each for key, each in zip(keys, inputs, strict=True) if key not in found}
        rows = {key: tokens(each) for key, each in missing.items()}
        for batch in _batches(rows):
            vectors = encoder.embed([rows[key] for key in batch]).numpy()
            new = dict(zip(batch, vectors, strict=True))
            cache.put(new)
            found |= new
            progress("embeddings", len(found), distinct)
        return np.stack([found[key] for key in keys])

    def _key(self, each: tuple[str, str]) -> str:
        what = json.dumps([_VERSION, self.revision, self.max_tokens, *each])
        return hashlib.sha256(what.encode()).hexdigest()


def _batches(rows: dict[str, list[int]]) -> list[list[str]]:
    """Keys of rows of like length, so that little is padded, longest first: memory peaks early."""
    batches: list[list[str]] = []
    room = 0
    for key in sorted(rows, key=lambda key: (-len(rows[key]), key)):
        if not batches or (len(batches[-1]) + 1) * room > _BATCH_TOKENS:
            batches.append([])
            room = len(rows[key])
        batches[-1].append(key)
    return batches
