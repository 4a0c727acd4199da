"""The delivered adapter as files in PEFT's format, in the artifact store."""

import tempfile
from pathlib import Path

from torch import Tensor

from api_schemas.models import ModelFile
from workers.stages.candidates import Candidate
from workers.stages.context import StageContext, TaskContext
from workers.training.stacked_lora import StackedAdapters, alpha_at_rank, rank_of, save_peft


def store_adapter(
    context: StageContext, candidates: list[Candidate], delivered: int
) -> list[ModelFile]:
    """Write the delivered candidate; the initial model becomes an adapter that changes nothing."""
    training = context.job.announcement.training.gradient
    state = candidates[delivered].state
    if state is None:
        (state,) = context.runner.map(_zero_state, [None], uses_model=True)
    rank = rank_of(state)  # a mix's may be larger than announced; its scaling is the same
    layers = sorted({int(key.split(".layers.")[1].split(".")[0]) for key in state})
    with tempfile.TemporaryDirectory() as folder:
        save_peft(
            Path(folder),
            state,
            base_model=context.job.announcement.base_model,
            rank=rank,
            alpha=alpha_at_rank(training, rank),
            layers=layers,
        )
        return [
            ModelFile(
                name=file.name,
                bytes=file.stat().st_size,
                sha256=context.artifacts.put(file.read_bytes()),
            )
            for file in sorted(Path(folder).iterdir())
        ]


def _zero_state(context: TaskContext, _item: None) -> dict[str, Tensor]:
    training = context.job.announcement.training.gradient
    adapters = StackedAdapters.announced(context.base_model().model, training, worlds=1)
    try:
        return adapters.world_state(0)  # B starts at zero
    finally:
        adapters.close()
