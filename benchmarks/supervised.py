"""What a supervised fine-tune of SmolLM2 takes, and what it brings on lines that it never saw.

The shipped questions on balcony gardening, a tenth of them held out; the settings are the defaults
but for the batch, of which 32 lines would leave a corpus of a hundred four steps an epoch.
"""

import os
import resource
import time
from contextlib import closing
from dataclasses import asdict
from importlib import resources
from typing import Any

import torch
from measure import base_model, record

from api_schemas.fine_tuned_models import SupervisedFineTuning
from workers.base_models import BaseModel
from workers.question_answers import hold_out, read_question_answers
from workers.supervised.examples import Example, examples_of
from workers.supervised.fine_tuning import SupervisedTraining

METHOD = SupervisedFineTuning(batch_size=8, epochs=2, checkpoints=4)
HOLDOUT_SHARE = 0.1


def shipped(base: BaseModel) -> tuple[list[Example], list[Example]]:
    """To train on, and held out."""
    data = resources.files("client.demo").joinpath("corpus/balcony_lines.jsonl").read_bytes()
    train, holdout = hold_out(read_question_answers(data), HOLDOUT_SHARE, METHOD.seed)
    room = METHOD.context_tokens
    return examples_of(base, train, room), examples_of(base, holdout, room)


def measured(base: BaseModel) -> dict[str, Any]:
    """Seconds are those of steps and held-out losses, without loading and the first of these."""
    train, holdout = shipped(base)
    load = os.getloadavg()[0]
    with closing(SupervisedTraining(base, train, holdout, METHOD)) as training:
        points = training.train(lambda step, loss: None)
        before = next(points)
        started, processor = time.perf_counter(), time.process_time()
        curve = [before, *points]
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    trained = METHOD.epochs * sum(each.slots for each in train)
    return {
        "settings": METHOD.model_dump(),
        "lines": len(train),
        "holdout_lines": len(holdout),
        "steps": len(training.steps),
        "load_average_before": load,
        "seconds": seconds,
        "processor_seconds": processor,
        "tokens_a_second": trained / seconds,
        "peak_gib": peak_bytes() / 2**30,
        "curve": [asdict(point) for point in curve],
        "holdout_fell_by_nats": before.holdout_loss - min(point.holdout_loss for point in curve),
    }


def peak_bytes() -> int:
    """Of the GPU's memory, or of the process's where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    record("supervised", measured(base_model()))
