"""vLLM as it is documented, and what becomes of what it gives; no GPU and no vLLM take part."""

import random
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_support import tiny_base

from api_schemas.datasets import PromptLine
from api_schemas.errors import Unavailable
from workers.pool.pool import Pool, sample_pool
from workers.pool.samplers import TorchSampler, sampler_named
from workers.pool.vllm_sampler import VLLMSampler

LINES = [PromptLine(prompt=prompt) for prompt in ("red sun", "green rain", "sun")]
SAMPLES, TOKENS = 5, 6


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The fields of vLLM's that matter here; another name is a TypeError, as there."""

    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    max_tokens: int
    ignore_eos: bool
    stop_token_ids: list[int]
    detokenize: bool

    def __post_init__(self) -> None:
        neutral = (self.n, self.temperature, self.top_p, self.top_k, self.min_p)
        assert neutral == (1, 1.0, 1.0, -1, 0.0)
        assert 0 <= self.seed < 2**63  # an int64, for torch.Generator


class StandIn:
    """vLLM's `LLM`, drawing tokens by the request's seed alone."""

    made: "list[StandIn]"
    spoil = staticmethod(lambda tokens: tokens)

    def __init__(
        self,
        model: str,
        *,
        dtype: str,
        max_model_len: int,
        gpu_memory_utilization: float,
        enable_prefix_caching: bool,
        generation_config: str,
        trust_remote_code: bool,
    ):
        assert not trust_remote_code
        assert enable_prefix_caching
        assert generation_config == "vllm"
        self.model, self.dtype, self.room = model, dtype, max_model_len
        self.share, self.ended, self.seeds = gpu_memory_utilization, False, []
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._shutdown))
        StandIn.made.append(self)

    def _shutdown(self) -> None:
        self.ended = True

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool,
    ) -> list[Any]:
        assert not use_tqdm
        pairs = zip(prompts, sampling_params, strict=True)
        return [self._output(prompt["prompt_token_ids"], params) for prompt, params in pairs]

    def _output(self, prompt: list[int], params: SamplingParams) -> Any:
        assert len(prompt) + params.max_tokens <= self.room
        self.seeds.append(params.seed)
        draw, tokens = random.Random(params.seed), []
        while len(tokens) < params.max_tokens:
            tokens.append(draw.randrange(7))
            if tokens[-1] in params.stop_token_ids:
                break
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=StandIn.spoil(tokens))])


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """A machine with a GPU of 80 GiB, of which 60 are free, and vLLM."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = StandIn, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60 << 30, 80 << 30))
    monkeypatch.setattr(StandIn, "made", [], raising=False)
    return StandIn


def _pool(lines: list[PromptLine] = LINES, first_index: int = 0, **options: Any) -> Pool:
    return sample_pool(
        tiny_base(),
        lines,
        samples=SAMPLES,
        max_new_tokens=TOKENS,
        labels=(3, "pool"),
        first_index=first_index,
        **options,
    )


def test_the_built_in_sampler_is_the_default_and_needs_nothing() -> None:
    assert isinstance(sampler_named("torch"), TorchSampler)
    assert torch.equal(_pool().tokens_XJT, _pool(sampler=sampler_named("torch")).tokens_XJT)


def test_vllm_gets_a_request_a_response_each_with_a_seed_of_its_own(vllm: type[StandIn]) -> None:
    told: list[tuple[int, int]] = []
    pool = _pool(sampler=VLLMSampler(), on_prompt=lambda *done: told.append(done))
    (engine,) = vllm.made
    assert engine.model == str(tiny_base().folder)
    assert engine.dtype == "float32"
    assert engine.share == pytest.approx(0.9 * 60 / 80)
    assert len(set(engine.seeds)) == len(engine.seeds) == 3 * SAMPLES
    assert engine.ended
    assert told[-1] == (3, 3)
    (end,) = tiny_base().eos_token_ids
    for tokens_J, lengths_J in zip(pool.tokens_XJT, pool.lengths_XJ, strict=True):
        for tokens, length in zip(tokens_J.tolist(), lengths_J.tolist(), strict=True):
            assert length == TOKENS or tokens[length - 1] == end
            assert tokens[length:] == [0] * (TOKENS - length)
    assert len(set(pool.lengths_XJ.flatten().tolist())) > 2
    np.testing.assert_array_equal(pool.log_q_XJ, -np.log(SAMPLES))


def test_a_pool_by_vllm_is_the_same_however_its_prompts_are_spread(vllm: type[StandIn]) -> None:
    whole, last = _pool(sampler=VLLMSampler()), _pool(LINES[2:], 2, sampler=VLLMSampler())
    assert torch.equal(whole.tokens_XJT[2:], last.tokens_XJT)


@pytest.mark.parametrize(
    "spoil",
    [lambda tokens: tokens[:1], lambda tokens: [], lambda tokens: [*tokens, *tokens]],
    ids=["cut short", "nothing", "too long"],
)
def test_what_is_no_whole_response_is_an_error_and_the_engine_ends(
    vllm: type[StandIn], spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "spoil", staticmethod(spoil))
    with pytest.raises(RuntimeError, match="vLLM gave"):
        _pool(sampler=VLLMSampler())
    assert vllm.made[0].ended


def test_without_a_gpu_or_the_package_the_error_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unavailable, match="TRUTHTUNE_SAMPLER is 'vllm', but no GPU") as caught:
        sampler_named("vllm")
    assert (caught.value.code, caught.value.param) == ("sampler_unavailable", "TRUTHTUNE_SAMPLER")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(Unavailable, match="the package vllm can't be imported"):
        sampler_named("vllm")
