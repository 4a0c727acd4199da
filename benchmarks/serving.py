"""Seconds to an answer's first piece and tokens a second, served on Ray Serve, on SmolLM2.

Beside them `transformers.generate` in a process of its own, and the load of the machine: this is
measured with whatever else runs.
"""

import asyncio
import io
import os
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import torch
from measure import NAME, base_model, record
from peft import LoraConfig, get_peft_model

from workers import base_models
from workers.artifacts import ArtifactStore
from workers.ray_runner import use_cores
from workers.serving.engine import Engine
from workers.serving.ray_serve import RayServe
from workers.serving.requests import End, GenerationRequest, Text

PROMPT = "Give me one tip for a rainy day."
TOKENS, REPEATS, AT_ONCE = 48, 5, 4


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(folder)
        figures = asyncio.run(served(store, stored_adapter(store)))
    figures["tokens_per_second_of_generate"] = by_generate()
    figures["load_average"] = os.getloadavg()[0]
    record("serving", figures)


async def served(store: ArtifactStore, adapter: str) -> dict[str, Any]:
    engine = Engine(lambda: RayServe(store.url, None, AT_ONCE), 2 * AT_ONCE)
    try:
        cold, _ = await timed(engine, None)
        first_with_adapter, _ = await timed(engine, adapter)
        warm = {
            name: [await timed(engine, of) for _ in range(REPEATS)]
            for name, of in (("base", None), ("adapter", adapter))
        }
        started = time.perf_counter()
        mixed = [timed(engine, of) for of in (None, adapter) * (AT_ONCE // 2)]
        await asyncio.gather(*mixed)
        together = AT_ONCE * TOKENS / (time.perf_counter() - started)
        memory = memory_bytes()
    finally:
        await engine.shutdown()
    return {
        "seconds_to_first_piece_cold": cold,
        "seconds_to_first_piece_of_a_new_adapter": first_with_adapter,
        **{
            f"seconds_to_first_piece_{name}": statistics.median(first for first, _ in runs)
            for name, runs in warm.items()
        },
        **{
            f"tokens_per_second_{name}": statistics.median(speed for _, speed in runs)
            for name, runs in warm.items()
        },
        f"tokens_per_second_of_{AT_ONCE}_together": together,
        "memory_bytes": memory,
    }


async def timed(engine: Engine, adapter: str | None) -> tuple[float, float]:
    """Seconds to the first piece, and tokens a second behind it."""
    request = GenerationRequest.model_validate(
        {
            "model": {
                "base": {"name": NAME, "revision": base_models.resolve(NAME).revision},
                "adapter": adapter,
            },
            "owner_id": f"grp_{time.perf_counter_ns()}",
            "prompt": [{"role": "user", "content": PROMPT}],
            "max_tokens": TOKENS,
            "may_shorten": False,
            "temperature": 1,
            "top_p": 1,
            "seed": 1,
            "stop": [],
        }
    )
    started, first, end = time.perf_counter(), 0.0, None
    async for event in engine.generate(request):
        if isinstance(event, Text):
            first = first or time.perf_counter() - started
        end = event
    if not isinstance(end, End):
        sys.exit(f"the answer ended with {end}")
    seconds = time.perf_counter() - started - first
    return first, (end.completion_tokens - 1) / seconds


def stored_adapter(store: ArtifactStore) -> str:
    """A random adapter on every linear layer, of the rank that rounds train by default."""
    model = base_models.load.__wrapped__(NAME, base_models.resolve(NAME).revision).model
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets))
    with tempfile.TemporaryDirectory() as folder:
        tuned.save_pretrained(folder)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in Path(folder).glob("adapter_*"):
                archive.write(file, file.name)
    return store.put(packed.getvalue())


def memory_bytes() -> int:
    """Proportional set size of this process's children: Ray, Serve and the replica."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_full_info().pss for child in children)


def by_generate() -> float:
    """Tokens a second behind the first, with as many threads as the replica has."""
    use_cores((os.cpu_count() or 2) // 2)
    base = base_model()
    prompt = torch.tensor([base.prompt_tokens(PROMPT)])
    options = {"do_sample": True, "top_k": 0, "min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    with torch.inference_mode():
        base.model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        started = time.perf_counter()
        for _ in range(REPEATS):
            base.model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    return REPEATS * TOKENS / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
