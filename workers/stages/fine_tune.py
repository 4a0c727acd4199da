"""The stage of a base model that is made here: fine-tune, keep checkpoints, merge the best."""

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from api_schemas.errors import TruthtuneError
from api_schemas.fine_tuned_models import BaseModelResult, LossPoint, SftCheckpoint
from api_schemas.jobs import BaseModelJobInput, ProgressEvent
from workers import plots
from workers.artifacts import ArtifactStore, canonical_json, raise_if_full, sha256_of
from workers.base_models import BaseModel, default_device, listing, load
from workers.question_answers import hold_out, read_question_answers
from workers.stages.context import StageContext, TaskContext
from workers.supervised.examples import Example, examples_of
from workers.supervised.fine_tuning import Measured, SupervisedTraining
from workers.supervised.kept_state import KeptState
from workers.supervised.merging import merge
from workers.training.stacked_lora import save_peft

Context = TaskContext[BaseModelJobInput]
_STEPS_TOLD = 100
_CHUNK_BYTES = 1 << 20


def run(context: StageContext[BaseModelJobInput]) -> str:
    """Leaves `BaseModelResult`. Its checkpoints, PEFT adapters, are artifacts as soon as they are
    made; killed, it goes on from the last of them.

    Raises InvalidInput where the lines or the settings are at fault, and TruthtuneError (code
    `not_improved`) if no checkpoint is better on the held-out lines than the model before: then
    nothing is published.
    """
    (digest,) = context.runner.map(_fine_tune, [None], uses_model=True)
    context.runner.forget_training(run_name(context.job))
    return digest


def run_name(job: BaseModelJobInput) -> str:
    """Of the model and all that its training depends on: others must not find its checkpoints."""
    digest = sha256_of(canonical_json(job.model_dump(mode="json")))
    return f"{job.base_model_id}-{digest.removeprefix('sha256:')[:16]}"


@dataclass
class _Record:
    """What is told of a training beside its weights; kept with its state."""

    curve: list[LossPoint]
    checkpoints: list[SftCheckpoint]

    def as_json(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "curve": [each.model_dump() for each in self.curve],
            "checkpoints": [each.model_dump() for each in self.checkpoints],
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "_Record":
        return cls(
            [LossPoint.model_validate(each) for each in saved["curve"]],
            [SftCheckpoint.model_validate(each) for each in saved["checkpoints"]],
        )


def _fine_tune(context: Context, _item: None) -> str:
    job = context.job
    base = load(job.settings.base_model, job.base_model_revision, str(default_device()))
    train, holdout = _examples(context, base)
    record = _trained(context, base, train, holdout)
    best = _best(record)
    result = BaseModelResult(
        revision=_published(context, base, best),
        started_from=job.base_model_revision,
        lines=len(train),
        holdout_lines=len(holdout),
        cut_lines=sum(each.is_cut for each in [*train, *holdout]),
        curve=record.curve,
        best_step=best.step,
        checkpoints=record.checkpoints,
        plot_sha256=_drawn(context, record, best),
    )
    return context.artifacts.put_json(result.model_dump(mode="json"))


def _trained(
    context: Context, base: BaseModel, train: list[Example], holdout: list[Example]
) -> _Record:
    kept = KeptState(context.artifacts, run_name(context.job))
    with closing(SupervisedTraining(base, train, holdout, context.job.settings.method)) as training:
        record = _restored(context.artifacts, training, kept)
        teller = _Teller(context, len(training.steps))
        for measured in training.train(teller.step):
            teller.measured(measured)
            record.curve.append(_point(measured))
            if measured.step:
                adapter = _stored_adapter(context, training.adapter(), measured)
                record.checkpoints.append(adapter)
                kept.save(training.state(), record.as_json(measured.step))
        context.count_tokens("fine_tune", training.tokens)
    return record


def _examples(context: Context, base: BaseModel) -> tuple[list[Example], list[Example]]:
    job = context.job
    lines = read_question_answers(context.artifacts.get(job.lines))
    if job.holdout is None:
        lines, held_out = hold_out(lines, job.settings.holdout_share, job.settings.method.seed)
    else:
        held_out = read_question_answers(context.artifacts.get(job.holdout))
    room = job.settings.method.context_tokens
    return examples_of(base, lines, room), examples_of(base, held_out, room)


def _restored(artifacts: ArtifactStore, training: SupervisedTraining, kept: KeptState) -> _Record:
    """What an earlier attempt left, with its checkpoints put anew: they are named by nothing yet,
    and a collection of garbage spares what is young. If one is gone, begin again."""
    found = kept.load()
    if found is None:
        return _Record([], [])
    tensors, saved = found
    record = _Record.from_json(saved)
    digests = [d for each in record.checkpoints for d in (each.adapter_sha256, each.config_sha256)]
    if not all(map(artifacts.exists, digests)):
        return _Record([], [])
    for digest in digests:
        artifacts.put(artifacts.get(digest))
    training.restore(saved["step"], tensors)
    return record


@dataclass
class _Teller:
    """Progress events, of a long training about every hundredth step."""

    context: Context
    steps: int

    def step(self, step: int, loss: float) -> None:
        if step % max(1, self.steps // _STEPS_TOLD) == 0:
            self._tell(step, f"train loss {loss:.4g}", train_loss=loss)

    def measured(self, at: Measured) -> None:
        figures = {"train_loss": at.train_loss, "holdout_loss": at.holdout_loss}
        self._tell(at.step, f"held-out loss {at.holdout_loss:.4g}", **figures)

    def _tell(self, step: int, figures: str, **data: float | None) -> None:
        self.context.tell(
            ProgressEvent(
                type="stage_progress",
                message=f"fine_tune: step {step} of {self.steps}, {figures}",
                data={"stage": "fine_tune", "step": step, "steps": self.steps, **data}
                | {"done": step, "total": self.steps, "unit": "steps"},
            )
        )


def _point(measured: Measured) -> LossPoint:
    return LossPoint(
        step=measured.step,
        train_loss=measured.train_loss,
        holdout_loss=measured.holdout_loss,
    )


def _stored_adapter(
    context: Context, adapter: dict[str, Tensor], measured: Measured
) -> SftCheckpoint:
    method = context.job.settings.method
    layers = {int(key.split(".layers.")[1].split(".")[0]) for key in adapter}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_peft(
            folder,
            adapter,
            base_model=context.job.settings.base_model,
            rank=method.lora_rank,
            alpha=method.lora_alpha,
            layers=sorted(layers),
        )
        return SftCheckpoint(
            step=measured.step,
            holdout_loss=measured.holdout_loss,
            adapter_sha256=_put_file(context, folder / "adapter_model.safetensors"),
            config_sha256=_put_file(context, folder / "adapter_config.json"),
        )


def _best(record: _Record) -> SftCheckpoint:
    best = min(record.checkpoints, key=lambda each: each.holdout_loss)
    before = record.curve[0].holdout_loss
    if not best.holdout_loss < before:
        raise TruthtuneError(
            f"fine-tuning has not improved the model: of {len(record.checkpoints)} checkpoints the "
            f"best, after step {best.step}, has a held-out loss of {best.holdout_loss:.4f} nats a "
            f"token, and the model before has {before:.4f}; nothing is published",
            code="not_improved",
        )
    return best


def _published(context: Context, base: BaseModel, best: SftCheckpoint) -> str:
    """The merged model's files and their list as artifacts; the list's digest."""
    from safetensors.torch import load as load_tensors

    method = context.job.settings.method
    adapter = load_tensors(context.artifacts.get(best.adapter_sha256))
    scaling = method.lora_alpha / method.lora_rank
    try:
        with tempfile.TemporaryDirectory() as folder:
            name = context.job.settings.base_model
            files = merge(name, base.folder, adapter, scaling, Path(folder))
            for file in files:
                _put_file(context, file)
            return context.artifacts.put(listing(files).encode())
    except OSError as error:
        raise_if_full(error)
        raise


def _put_file(context: Context, file: Path) -> str:
    with file.open("rb") as stream:
        return context.artifacts.put_stream(iter(lambda: stream.read(_CHUNK_BYTES), b""))


def _drawn(context: Context, record: _Record, best: SftCheckpoint) -> str:
    title = f"Fine-tuning of {context.job.base_model_id}: {context.job.settings.name}"
    return context.artifacts.put(plots.loss_curve_figure(record.curve, best.step, title))
