"""LoRA fine-tuning on answers: the loss of a question's answer tokens, given the question.

    L = −(1/A)·Σ_a log π_θ(y_a | x, y_<a),   A the answer tokens of the step, end tokens included

The question's tokens have no loss. Adapters (Hu et al. 2021, arXiv 2106.09685) are on every linear
layer of every decoder layer. Everything that is drawn depends on the seed and the step alone, so
that a training which goes on from a checkpoint is the same, bit for bit, as one never interrupted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from api_schemas.errors import InvalidInput
from api_schemas.fine_tuned_models import SupervisedFineTuning
from workers.base_models import BaseModel
from workers.pool.randomness import derived_seed
from workers.supervised.examples import Example, ExampleBatch, parts_of, steps_of
from workers.training.stacked_lora import StackedAdapters

CLIP_NORM = 1.0
_CPU_SLOTS, _GPU_SLOTS = 1024, 8192
"""Of a part that is computed at once, padding included: bounds the memory of activations. A step's
gradient is the sum over its parts, whatever they are."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Measured:
    """`train_loss` is of the answer tokens trained on since the measurement before."""

    step: int
    train_loss: float | None
    holdout_loss: float


class SupervisedTraining:
    """A training in progress. It changes the base model's layers until it is closed."""

    def __init__(
        self,
        base: BaseModel,
        train: Sequence[Example],
        holdout: Sequence[Example],
        method: SupervisedFineTuning,
    ):
        self.method, self._train, self._holdout = method, train, holdout
        self._model = base.model
        self._device = base.model.device
        self.adapters = StackedAdapters(
            base.model,
            worlds=1,
            rank=method.lora_rank,
            scaling=method.lora_alpha / method.lora_rank,
            top_layers=None,
            seed=derived_seed(method.seed, "adapter"),
        )
        self.parameters = self.adapters.parameters_by_world()
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=method.learning_rate, weight_decay=method.weight_decay
        )
        self.steps = steps_of(len(train), method.batch_size, method.epochs, method.seed)
        self.measured_at = measured_steps(len(self.steps), method.checkpoints)
        self.step = 0
        self.tokens = 0
        """Answer tokens trained on by this process."""

    def close(self) -> None:
        """Give the base model its own layers back."""
        self.adapters.close()

    def train(self, on_step: Callable[[int, float], None]) -> Iterator[Measured]:
        """Yields the measurement of each checkpoint that is still to come, at its step; before the
        first step also that of the base model. `on_step` is told each step's loss before it.

        Raises InvalidInput (`method.learning_rate`) if the training diverges.
        """
        if self.step == 0:
            yield Measured(0, None, self.holdout_loss())
        nats, tokens = 0.0, 0
        while self.step < len(self.steps):
            chosen = [self._train[place] for place in self.steps[self.step]]
            summed, count = self._update(chosen)
            nats, tokens = nats + summed, tokens + count
            self.step += 1
            self.tokens += count
            on_step(self.step, summed / count)
            if self.step in self.measured_at:
                yield Measured(self.step, nats / tokens, self.holdout_loss())
                nats, tokens = 0.0, 0

    @torch.no_grad()
    def holdout_loss(self) -> float:
        """Mean nats of an answer token."""
        nats = sum(float(self._nats(part)) for part in self._parts(self._holdout))
        loss = nats / sum(len(each.answer) for each in self._holdout)
        self._require_finite(loss, "held-out loss")
        return loss

    def _update(self, examples: Sequence[Example]) -> tuple[float, int]:
        """One update; the loss before it, summed over the answer tokens, and their number."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.method.learning_rate * rate_share(
                self.step, len(self.steps), self.method.warmup_share
            )
        self.optimizer.zero_grad(set_to_none=True)
        tokens, summed = sum(len(each.answer) for each in examples), 0.0
        for part in self._parts(examples):
            nats = self._nats(part)
            (nats / tokens).backward()
            summed += float(nats.detach())
        self._require_finite(summed, "loss")
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        return summed, tokens

    def _nats(self, batch: ExampleBatch) -> Tensor:
        """Σ −log π(answer token) of a batch; logits are computed for answer tokens alone."""
        row_A, slot_A = batch.predicting_2A.to(self._device)
        with self.adapters.select([0]), self._precision():
            hidden_RSH = self._model.model(
                input_ids=batch.tokens_RS.to(self._device), use_cache=False
            ).last_hidden_state
            logits_AV = self._model.lm_head(hidden_RSH[row_A, slot_A]).float()
        target_A = batch.answer_A.to(self._device)
        return nn.functional.cross_entropy(logits_AV, target_A, reduction="sum")

    def _precision(self) -> AbstractContextManager[object]:
        """On a GPU adapters are multiplied in bfloat16, as the base is; they stay float32."""
        if self._device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def _parts(self, examples: Sequence[Example]) -> Iterator[ExampleBatch]:
        return parts_of(examples, _GPU_SLOTS if self._device.type == "cuda" else _CPU_SLOTS)

    def _require_finite(self, figure: float, what: str) -> None:
        if not math.isfinite(figure):
            raise InvalidInput(
                f"fine-tuning diverged: the {what} is {figure} at step {self.step}; lower the "
                f"learning rate of {self.method.learning_rate:g}",
                param="method.learning_rate",
            )

    def adapter(self) -> dict[str, Tensor]:
        """The adapter as it stands, under PEFT's names."""
        return self.adapters.world_state(0)

    def state(self) -> dict[str, Tensor]:
        """What a training needs to go on, beside the step: parameters and AdamW's moments."""
        found = {}
        for index, parameter in enumerate(self.parameters):
            found[f"parameter.{index}"] = parameter.detach()
            for name in _MOMENTS:
                found[f"{name}.{index}"] = self.optimizer.state[parameter][name]
        return found

    @torch.no_grad()
    def restore(self, step: int, state: dict[str, Tensor]) -> None:
        """Go on from where `state` was taken."""
        self.step = step
        for index, parameter in enumerate(self.parameters):
            parameter.copy_(state[f"parameter.{index}"])
            self.optimizer.state[parameter] = {
                name: state[f"{name}.{index}"].to("cpu" if name == "step" else parameter.device)
                for name in _MOMENTS
            }


def measured_steps(steps: int, checkpoints: int) -> list[int]:
    """The steps after which a checkpoint is kept: at equal distances, the last always.

    >>> measured_steps(10, 4)
    [2, 5, 7, 10]
    """
    wanted = min(steps, checkpoints)
    return [steps * place // wanted for place in range(1, wanted + 1)]


def rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Of the learning rate, at a step counted from 0: up linearly in the warm-up, down to 0 after.

    (t + 1)/W for t < W,   (T − t)/(T − W) after,   W = ⌈share·T⌉
    """
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / (steps - warmup)
