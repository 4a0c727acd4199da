"""A real round on SmolLM2, stage by stage in one process and on one core, beside the model."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from api_schemas.jobs import STAGES, JobInput, ProgressEvent, StageName
from workers.artifacts import ArtifactStore
from workers.pool.samplers import SamplerName
from workers.stages.context import StageContext, TaskContext
from workers.stages.run import STAGE_FUNCTIONS
from workers.stages.sample_pool import load_pools
from workers.stages.train import train_loop

from .costs import cost_on_cores
from .measuring import shape_of, smollm2
from .passes import Adapters
from .stages import RoundSize


class _OneProcess:
    """A runner with one worker: this process."""

    model_shards = train_workers = 1
    sampler: SamplerName = "torch"

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def map(self, task: Callable[..., Any], items: Sequence[Any], **_options: Any) -> list[Any]:
        return [task(self._context, item) for item in items]

    def train(self, inputs: dict[StageName, str], run_name: str) -> str:
        return train_loop(self._context, inputs)

    def forget_training(self, run_name: str) -> None:
        pass


def compared(
    make_job: Callable[[ArtifactStore], JobInput], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Processor seconds of every stage, and what the fitted model says of the same round.

    Its prompts' and responses' lengths are those that the round had: the model takes each response
    for as long as the announced most, and each prompt for as long as the longest.
    """
    torch.set_num_threads(1)
    base = smollm2()  # loading is no stage's
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(folder)
        job = make_job(store)
        digests: dict[StageName, str] = {}
        seconds: dict[str, float] = {}
        events: list[ProgressEvent] = []
        for stage in STAGES[:-1]:
            task = TaskContext(job, store, events.append)
            context = StageContext(job, store, events.append, digests, _OneProcess(task))
            started = time.process_time()
            digests[stage] = STAGE_FUNCTIONS[stage](context)
            seconds[stage] = time.process_time() - started
            print(f"{stage}: {seconds[stage]:.2f} core seconds", flush=True)
        pool, _ = load_pools(store, digests["sample_pool"])
    size = size_of(job, max(map(len, pool.prompt_tokens)), len(pool.prompts))
    expected = cost_on_cores(shape_of(base, "135M"), size, found)
    names = [name for name in seconds if name in expected]
    return {
        "prompts": size.prompts,
        "steps": size.steps,
        "groups": size.groups,
        "mean_response_tokens": float(pool.lengths_XJ.double().mean()),
        "stages": {name: {"seconds": seconds[name], "predicted": expected[name]} for name in names},
        "seconds": sum(seconds[name] for name in names),
        "predicted": sum(expected[name] for name in names),
    }


def size_of(job: JobInput, prompt_tokens: int, prompts: int) -> RoundSize:
    """An announcement's sizes."""
    rules = job.announcement
    settings = rules.training.gradient
    return RoundSize(
        groups=len(job.reports),
        prompts=prompts,
        prompt_tokens=prompt_tokens,
        tokens=rules.generation.max_new_tokens,
        responses=rules.pool.samples_per_prompt,
        holdout=rules.pool.holdout_samples_per_prompt,
        fresh=rules.pool.fresh_samples_per_prompt,
        steps=settings.steps,
        step_prompts=settings.prompts_per_step,
        samples=getattr(settings, "samples_per_prompt", 0),
        evaluate_every=settings.evaluate_every,
        adapters=Adapters(settings.lora_rank, settings.top_layers or 0),
        training=settings.method,
        counterfactuals=rules.counterfactuals,
    )
