"""Sizes of models, and what one pass of them takes: floating-point operations, bytes.

Operations are those of matrix products, a multiplication and an addition counting as two, as
`torch.utils.flop_counter` counts them; a pass's other work is counted as bytes. docs/scale.md §2.
"""

from dataclasses import dataclass

FLOAT32, BFLOAT16 = 4, 2
"""Bytes of a number."""


@dataclass(frozen=True)
class Shape:
    """A Llama-layout model. `number_bytes`: of one weight and one activation."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    number_bytes: int = BFLOAT16

    @property
    def layer_weights(self) -> int:
        """Of the seven linear layers that adapters are put on."""
        return sum(inputs * outputs for inputs, outputs in self.linears)

    @property
    def parameters(self) -> int:
        """P: embedding, head, linear layers, norms."""
        embeddings = self.hidden * self.vocabulary * (1 if self.tied else 2)
        return embeddings + self.layers * (self.layer_weights + 2 * self.hidden) + self.hidden

    @property
    def weight_bytes(self) -> int:
        return self.parameters * self.number_bytes

    @property
    def cache_bytes_a_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.key_heads * self.head_size * self.number_bytes

    def adapter_weights(self, rank: int, layers: int) -> int:
        """A and B of rank r on the top layers: r·Σ (inputs + outputs)."""
        return rank * layers * sum(inputs + outputs for inputs, outputs in self.linears)

    def layer_flops(self, tokens: float, pairs: float) -> float:
        """One layer: 2 operations a weight and token, and 4 a query, key and feature of a head."""
        return 2 * self.layer_weights * tokens + 4 * self.heads * self.head_size * pairs

    def logit_flops(self, positions: float) -> float:
        return 2 * self.hidden * self.vocabulary * positions

    def adapter_flops(self, rank: int, layers: int, tokens: float) -> float:
        return 2 * self.adapter_weights(rank, layers) * tokens

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of q, k, v, o, gate, up, down."""
        queries, keys = self.heads * self.head_size, self.key_heads * self.head_size
        return [
            (self.hidden, queries),
            (self.hidden, keys),
            (self.hidden, keys),
            (queries, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        ]


def of_config(name: str, config: object, number_bytes: int = FLOAT32) -> Shape:
    """The shape that a transformers configuration describes."""
    found = vars(config) if not isinstance(config, dict) else config
    heads, hidden = found["num_attention_heads"], found["hidden_size"]
    return Shape(
        name=name,
        hidden=hidden,
        intermediate=found["intermediate_size"],
        layers=found["num_hidden_layers"],
        heads=heads,
        key_heads=found["num_key_value_heads"],
        head_size=found.get("head_dim") or hidden // heads,
        vocabulary=found["vocab_size"],
        tied=found["tie_word_embeddings"],
        number_bytes=number_bytes,
    )


TINY = Shape("tiny-enumerable", 48, 96, 2, 4, 4, 12, 6, False, FLOAT32)
SMOLLM2 = Shape("SmolLM2-135M", 576, 1536, 30, 9, 3, 64, 49152, True)
LLAMA_1B = Shape("1B", 2048, 8192, 16, 32, 8, 64, 128256, True)
LLAMA_8B = Shape("8B", 4096, 14336, 32, 32, 8, 128, 128256, False)
LLAMA_70B = Shape("70B", 8192, 28672, 80, 64, 8, 128, 128256, False)
"""Of published configurations: SmolLM2-135M, Llama 3.2 1B, Llama 3.1 8B and 70B."""

MODELS = (SMOLLM2, LLAMA_1B, LLAMA_8B, LLAMA_70B)
