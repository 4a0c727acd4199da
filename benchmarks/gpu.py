"""Tokens a second and model-FLOPs utilisation on a GPU; without one it says so and does nothing.

Utilisation is model FLOPs, 2 a weight and token forward and 2 more backward (weights are frozen, so
that only activations get gradients; attention's own products are left out), by the seconds, by the
device's peak: as published, and as one large matrix product reaches it in the same run.

`python benchmarks/gpu.py [BASE_MODEL]`, by default SmolLM2-135M-Instruct.
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing, nullcontext

import numpy as np
import torch
from measure import NAME, record
from torch.nn.attention import SDPBackend, sdpa_kernel

from api_schemas.datasets import PromptLine
from api_schemas.training import PoolGradient
from workers import base_models
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.worlds import membership
from workers.pool.logprobs import ROW_TOKENS, ResponseLogProbs
from workers.pool.pool import Pool, sample_pool
from workers.training.pool_gradient import PoolGradientTrainer
from workers.training.task import TrainingTask

PROMPTS = tuple(f"Give me {count} tips for a rainy day." for count in range(2, 10))
RESPONSES, TOKENS, GROUPS, TOP_LAYERS, STEPS = 64, 64, 3, 8, 4
PUBLISHED_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense FLOPs a second of the SXM or only form, by NVIDIA's data sheets; the first that matches."""


def seconds_of(work: Callable[[], object]) -> float:
    """After a first time that warms up."""
    work()
    _wait()
    started = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_flops(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOPs a second of a square matrix product, 2·size³ each."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = 8
    return times * 2 * size**3 / seconds_of(lambda: [a @ b for _ in range(times)])


def weights_of(base: BaseModel) -> tuple[int, int]:
    """(numbers of one layer, numbers of the head): what a token is multiplied with."""
    layer = sum(parameter.numel() for parameter in base.model.model.layers[0].parameters())
    return layer, base.model.lm_head.weight.numel()


def slots_of(pool: Pool) -> int:
    """Token places that a pass over all packed rows computes: a row's prompt and its responses."""
    _, responses, tokens = pool.tokens_XJT.shape
    rows = -(-responses // max(1, ROW_TOKENS // tokens))
    prompts = sum(len(prompt) for prompt in pool.prompt_tokens)
    return rows * prompts + len(pool.prompts) * responses * (tokens - 1)


def log_prob_figures(base: BaseModel, pool: Pool, peak: float) -> dict[str, object]:
    layer, head = weights_of(base)
    decoder, slots = Decoder(base.model), slots_of(pool)
    drawn = pool.tokens_XJT.numel()
    flops = 2 * (slots * layer * decoder.n_layers + drawn * head)
    rates: dict[str, float | None] = {}
    kernels = {"default": None, "flash": SDPBackend.FLASH_ATTENTION}
    kernels |= {"efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
    passes = ResponseLogProbs(decoder, None, pool.prompt_tokens, pool.tokens_XJT, pool.lengths_XJ)
    for name, kernel in kernels.items():
        try:
            with nullcontext() if kernel is None else sdpa_kernel(kernel):
                rates[name] = slots / seconds_of(lambda: passes([None]))
        except RuntimeError:  # this kernel takes no mask, and packed rows need one
            rates[name] = None
    fastest = rates["default"]
    assert fastest is not None
    return {
        "tokens_a_second_by_attention_kernel": rates,
        "utilisation": flops / slots * fastest / peak,
    }


def training_figures(base: BaseModel, pool: Pool, peak: float) -> dict[str, object]:
    """Steps of all worlds at once on the pool: forward and backward through the top layers."""
    layer, head = weights_of(base)
    rewards_NXJ = np.random.default_rng(1).random((GROUPS, *pool.lengths_XJ.shape))
    settings = PoolGradient(
        steps=STEPS + 2, prompts_per_step=len(PROMPTS), evaluate_every=99, top_layers=TOP_LAYERS
    )
    task = TrainingTask(
        settings=settings,
        coefficient=1.0,
        regularizer="kl",
        seed=1,
        max_new_tokens=TOKENS,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=membership(GROUPS) * np.array([3.0, 7.0, 5.0]),
        steps_W=[settings.steps] * (GROUPS + 1),
        score=lambda prompts, responses, groups: np.zeros((len(groups), len(responses))),
        pool=pool,
        pool_rewards_NXJ=rewards_NXJ,
        holdout=pool,
        holdout_rewards_NXJ=rewards_NXJ,
    )
    with closing(PoolGradientTrainer(base, task)) as trainer:
        reports = trainer.train()
        next(reports)  # computes the frozen layers' part, which later steps find
        seconds = seconds_of(lambda: [next(reports) for _ in range(STEPS // 2)]) / (STEPS // 2)
        layers = trainer.adapters.top_layers
    worlds, slots, drawn = GROUPS + 1, slots_of(pool), pool.tokens_XJT.numel()
    flops = 4 * worlds * (slots * layer * layers + drawn * head)
    return {
        "worlds": worlds,
        "top_layers": layers,
        "seconds_a_step": seconds,
        "tokens_a_second": worlds * slots / seconds,
        "utilisation": flops / seconds / peak,
    }


def sampled(base: BaseModel) -> tuple[Pool, float]:
    """(a pool, tokens a second that it was drawn and valued with)."""
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    pools: list[Pool] = []

    def draw() -> None:
        drawn = sample_pool(
            base, lines, samples=RESPONSES, max_new_tokens=TOKENS, labels=("gpu", len(pools))
        )
        pools.append(drawn)

    seconds = seconds_of(draw)
    return pools[-1], float(pools[-1].lengths_XJ.sum()) / seconds


def figures(base: BaseModel, device: torch.device, matmul_size: int) -> dict[str, object]:
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    measured = matmul_flops(matmul_size, Decoder(base.model).dtype, device)
    published = next((peak for part, peak in PUBLISHED_BF16.items() if part in name), None)
    pool, rate = sampled(base)
    return {
        "dtype": str(Decoder(base.model).dtype),
        "peak_flops": {"published": published, "matrix_product": measured},
        "utilisation_is_of": "published" if published else "matrix_product",
        "sampling_tokens_a_second": rate,
        "log_probs": log_prob_figures(base, pool, published or measured),
        "training": training_figures(base, pool, published or measured),
    }


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU here (torch.cuda.is_available() is false): nothing is measured")
        return
    name = sys.argv[1] if len(sys.argv) > 1 else NAME
    device = torch.device("cuda")
    base = base_models.load(name, base_models.resolve(name).revision, "cuda")
    record("gpu", {"base_model": name, **figures(base, device, matmul_size=8192)})


if __name__ == "__main__":
    main()
