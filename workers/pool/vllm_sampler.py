"""Sampling by vLLM, for pools that are large beside a GPU's time.

Written against vLLM's documented offline interface (docs.vllm.ai: `LLM`, `SamplingParams`, as of
0.3x); it has been tested with a stand-in for vLLM alone, never on a GPU. vLLM draws with random
numbers of its own: a response is decided by its seed and its prompt, up to how vLLM's kernels round
in a batch, and is another one than the built-in sampler draws.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from api_schemas.errors import Unavailable
from workers.base_models import BaseModel
from workers.pool.randomness import derived_seed
from workers.pool.responses import Responses, Wanted
from workers.pool.samplers import OnPrompt

_REQUESTS_AT_ONCE = 8192
"""vLLM batches them itself; between two calls progress is told."""
_MEMORY_SHARE = 0.9
"""Of what is free on the GPU: the round's own model is there already."""


def require_vllm() -> Any:
    """The package vllm. Raises Unavailable, naming what is missing."""
    if not torch.cuda.is_available():
        raise _unavailable("no GPU is to be seen here (torch.cuda.is_available() is false)")
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise _unavailable(f"the package vllm can't be imported here: {error}") from error


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(
        f"TRUTHTUNE_SAMPLER is 'vllm', but {reason}; install vllm on every machine that has a GPU, "
        "or set TRUTHTUNE_SAMPLER=torch",
        code="sampler_unavailable",
        param="TRUTHTUNE_SAMPLER",
    )


class VLLMSampler:
    """An engine is started for each call and ended with it: its memory is needed for training.

    Raises Unavailable where vLLM or a GPU is missing.
    """

    def __init__(self) -> None:
        self._vllm = require_vllm()

    def draw(self, base: BaseModel, wanted: Wanted, on_prompt: OnPrompt) -> Responses:
        count, samples, ends = len(wanted.prompts), wanted.samples, base.eos_token_ids
        drawn = Responses(
            torch.zeros((count, samples, wanted.max_new_tokens), dtype=torch.long),
            torch.zeros((count, samples), dtype=torch.long),
        )
        each = max(1, _REQUESTS_AT_ONCE // samples)
        with self._engine(base, wanted) as engine:
            for start in range(0, count, each):
                places = range(start, min(start + each, count))
                outputs = iter(self._generate(engine, wanted, places, ends))
                for p in places:
                    for j in range(samples):
                        tokens = _checked(next(outputs), wanted.max_new_tokens, ends)
                        drawn.tokens_PJT[p, j, : len(tokens)] = torch.tensor(tokens)
                        drawn.lengths_PJ[p, j] = len(tokens)
                on_prompt(places.stop, count)
        return drawn

    @contextmanager
    def _engine(self, base: BaseModel, wanted: Wanted) -> Iterator[Any]:
        free, total = torch.cuda.mem_get_info()
        engine = self._vllm.LLM(
            model=str(base.folder),
            dtype=str(base.model.dtype).removeprefix("torch."),
            max_model_len=max(map(len, wanted.prompts)) + wanted.max_new_tokens,
            gpu_memory_utilization=_MEMORY_SHARE * free / total,
            enable_prefix_caching=True,  # a prompt is computed once for all its responses
            generation_config="vllm",  # not the temperature that the model's makers like
            trust_remote_code=False,
        )
        try:
            yield engine
        finally:
            engine.llm_engine.engine_core.shutdown()

    def _generate(
        self, engine: Any, wanted: Wanted, places: range, ends: frozenset[int]
    ) -> Sequence[Any]:
        """One request a response, so that each has a seed of its own; in the order of places."""
        asked = [(p, j) for p in places for j in range(wanted.samples)]
        outputs: Sequence[Any] = engine.generate(
            [{"prompt_token_ids": wanted.prompts[p]} for p, _ in asked],
            [
                self._vllm.SamplingParams(
                    n=1,
                    temperature=1.0,
                    top_p=1.0,
                    top_k=-1,
                    min_p=0.0,
                    seed=derived_seed(*wanted.labels_P[p], j),
                    max_tokens=wanted.max_new_tokens,
                    # What ends a response is ours to say: vLLM would go by the tokenizer too.
                    ignore_eos=True,
                    stop_token_ids=sorted(ends),
                    detokenize=False,
                )
                for p, j in asked
            ],
            use_tqdm=False,
        )
        if len(outputs) != len(asked):
            raise RuntimeError(f"vLLM gave {len(outputs)} outputs for {len(asked)} requests")
        return outputs


def _checked(output: Any, max_new_tokens: int, ends: frozenset[int]) -> list[int]:
    """The response's tokens with the one that ended it.

    Raises RuntimeError for what is no whole response: a pool of it would be of another policy.
    """
    tokens = list(output.outputs[0].token_ids)
    whole = bool(tokens) and (len(tokens) == max_new_tokens or tokens[-1] in ends)
    if not whole or len(tokens) > max_new_tokens or not ends.isdisjoint(tokens[:-1]):
        raise RuntimeError(
            f"vLLM gave {len(tokens)} tokens ending with {tokens[-1:]}, where a response ends with "
            f"one of {sorted(ends)}, and nowhere before, or has {max_new_tokens} tokens"
        )
    return tokens
